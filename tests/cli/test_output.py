"""Plain text, tables, strict JSON, CSV."""

from __future__ import annotations

import datetime as dt
import math

from localtrack.cli import output


def test_numbers_that_are_none_become_strings():
    """NaN and infinities are strings that `float` reads back: nothing is lost, and the JSON is strict."""
    values = output.plain({"a": [math.nan, math.inf, -math.inf, 1.5]})["a"]
    assert values == ["NaN", "Infinity", "-Infinity", 1.5]
    assert math.isnan(float(values[0]))
    assert [float(text) for text in values[1:3]] == [math.inf, -math.inf]


def test_foreign_types_become_plain_json():
    """Tuples, sets, bytes and dates have a place in JSON."""
    value = {1: (1, 2), "s": {"b", "a"}, "b": b"\x00", "d": dt.date(2026, 5, 4), "none": None, "yes": True}
    expected = {"1": [1, 2], "s": ["a", "b"], "b": "AA==", "d": "2026-05-04", "none": None, "yes": True}
    assert output.plain(value) == expected


def test_control_characters_are_spelled_out():
    """A name can neither steer the terminal nor break the line."""
    assert output.printable("a\x1b[31mb\nc\x9b") == "a\\x1b[31mb\\nc\\x9b"


def test_console_text_keeps_colours_only():
    """On a terminal, colours pass; moves, titles and clears do not."""
    text = "\x1b[32mgreen\x1b[0m\x1b[2J\x1b]0;title\x07\x1b[1;1Hx\x07"
    assert output.harmless(text) == "\x1b[32mgreen\x1b[0mx"


def test_tables_align_wide_characters(capsys):
    """Columns line up when cells hold double-width or combining characters."""
    output.print_table(["name", "n"], [["日本", 1], ["e\u0301x", 22]], right=(1,))
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["NAME   N", "日本   1", "e\u0301x    22"]


def test_csv_keeps_commas_quotes_and_missing(capsys):
    """CSV quotes what it must, and a missing value is an empty cell."""
    output.print_csv(["a", "b"], [['x,"y"', None]])
    assert capsys.readouterr().out == 'a,b\n"x,""y""",\n'


def test_colours_follow_the_two_variables(monkeypatch):
    """NO_COLOR refuses colours that FORCE_COLOR asks for; without either, a pipe has none."""
    assert not output.wants_colour()
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert output.wants_colour()
    assert output.coloured("x", "31") == "\x1b[31mx\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert output.coloured("x", "31") == "x"


def test_a_terminal_gets_a_rich_table(monkeypatch, capsys):
    """With FORCE_COLOR, a table comes with colours, and markup in a name stays text."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    output.print_table(["id", "status"], [["[red]x[/red]", "failed"]])
    printed = capsys.readouterr().out
    assert "[red]x[/red]" in printed
    assert "\x1b[31mfailed" in printed


def test_spans_and_sizes_for_people():
    """Spans and sizes use their largest unit."""
    assert [output.age_text(s) for s in (5, 90, 7200, 200_000)] == ["5 s", "2 min", "2 h", "2 d"]
    assert [output.size_text(n) for n in (5, 2048, 3 << 20)] == ["5 bytes", "2.0 KiB", "3.0 MiB"]
