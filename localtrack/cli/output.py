"""How data is printed: aligned plain text, rich tables on a terminal, strict JSON, JSON lines, CSV.

JSON has no word for NaN and infinities, so they are the strings ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``, which
``float`` and JavaScript's ``Number`` read back.

Source: docs/reference/cli.md, "Output".
"""

from __future__ import annotations

import base64
import csv
import datetime as dt
import json
import math
import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

STATUS_STYLES = {
    "created": "cyan",
    "queued": "yellow",
    "in_progress": "blue",
    "completed": "green",
    "published": "bold green",
    "stopped": "magenta",
    "failed": "red",
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ESCAPES = re.compile(
    r"\x1b\[(?![0-9;]*m)[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[^\[\]]|[\x00-\x08\x0b-\x1a\x1c-\x1f]"
)


def is_terminal() -> bool:
    """Tell whether stdout is to be decorated: a terminal, or ``FORCE_COLOR`` is set."""
    if os.environ.get("FORCE_COLOR"):
        return True
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def printable(value: object) -> str:
    """Return a text that can't steer a terminal or break a line: control characters are spelled out."""
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], str(value))


def harmless(text: str) -> str:
    """Return console text for a terminal: colours stay, all other escape sequences go."""
    return _ESCAPES.sub("", text)


def number_text(value: object) -> str:
    """Return a number in at most six significant digits, anything else as it is; ``-`` for nothing."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    return printable(value)


def plain(value: Any) -> Any:
    """Return a value in strict JSON: tuples and sets as lists, dates as ISO text, bytes as base64."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return [plain(item) for item in sorted(value, key=repr)]
    if isinstance(value, (list, tuple)) or hasattr(value, "typecode"):
        return [plain(item) for item in value]
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    if isinstance(value, (dt.date, dt.datetime)):
        return value.isoformat()
    return str(value) if isinstance(value, PurePath) else repr(value)


def print_json(value: Any, *, lines: bool = False) -> None:
    """Print a value as JSON; as JSON lines when it is a list and ``lines`` is set."""
    if lines:
        for item in value:
            print(_dump(plain(item), None))
    else:
        print(_dump(plain(value), 2))


def _dump(value: Any, indent: int | None) -> str:
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent, allow_nan=False)
    return text


def print_csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows as CSV with a header; numbers whole, missing values empty."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow(["" if cell is None else cell for cell in row])


def print_table(
    header: Sequence[str], rows: Sequence[Sequence[Any]], *, right: Sequence[int] = (), indent: str = ""
) -> None:
    """Print a table: aligned text, or in colours and fitted to the width on a terminal.

    Args:
        header: column names.
        rows: cells, turned into text here.
        right: numbers of the columns that are set to the right.
        indent: blanks before each line of plain text.
    """
    cells = [[number_text(cell) for cell in row] for row in rows]
    if is_terminal():
        _print_rich(header, cells, right)
    else:
        _print_aligned(
            [[name.upper() if name.replace(" ", "").isalpha() else name for name in header], *cells], right, indent
        )


def print_pairs(pairs: Iterable[tuple[str, Any]], indent: str = "", colours: Mapping[str, str] | None = None) -> None:
    """Print names and values, the values aligned.

    Args:
        pairs: names and values, turned into text here.
        indent: blanks before each line.
        colours: ANSI colour of the value of a name.
    """
    rows = [(name, number_text(value)) for name, value in pairs]
    width = max((text_width(name) for name, _ in rows), default=0)
    for name, value in rows:
        shown = coloured(value, colours[name]) if colours and name in colours else value
        print(f"{indent}{name}{' ' * (width - text_width(name))}  {shown}".rstrip())


def heading(text: str) -> None:
    """Print a heading, bold on a terminal that wants colours."""
    print(f"\n\x1b[1m{text}\x1b[0m" if wants_colour() else f"\n{text}")


def coloured(text: str, code: str) -> str:
    """Return the text in an ANSI colour where colours are wanted."""
    return f"\x1b[{code}m{text}\x1b[0m" if wants_colour() else text


def wants_colour() -> bool:
    """Tell whether colours are wanted: ``NO_COLOR`` refuses them."""
    return is_terminal() and not os.environ.get("NO_COLOR")


def text_width(text: str) -> int:
    """Return the number of terminal cells that a text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def _print_aligned(rows: list[list[str]], right: Sequence[int], indent: str) -> None:
    widths = [max(text_width(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        padded = []
        for column, cell in enumerate(row):
            blanks = " " * (widths[column] - text_width(cell))
            padded.append(blanks + cell if column in right else cell + blanks)
        print((indent + "  ".join(padded)).rstrip())


def _print_rich(header: Sequence[str], rows: list[list[str]], right: Sequence[int]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column, name in enumerate(header):
        keep = name in ("id", "status", "entry")
        table.add_column(
            name, justify="right" if column in right else "left", no_wrap=keep, overflow="ellipsis" if keep else "fold"
        )
    for row in rows:
        table.add_row(*(Text(cell, style=STATUS_STYLES.get(cell.partition(" ")[0], "")) for cell in row))
    Console(force_terminal=True if os.environ.get("FORCE_COLOR") else None, highlight=False).print(table)


def age_text(seconds: float) -> str:
    """Return a time span for people: its largest unit."""
    for unit, length_s in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def size_text(size_bytes: float) -> str:
    """Return a size for people."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.0f} {unit}" if unit == "bytes" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} TiB"
