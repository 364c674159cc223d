"""The HOCON that ClearML writes reads back as the dictionary that was connected."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localtrack.records.hocon import parse

# what clearml 2.1.12 made of each value
WRITTEN: list[tuple[Any, str]] = [
    ({"a": 1}, "a = 1"),
    ({}, "{}"),
    ({"a": {}}, "a {}"),
    ({"a": []}, "a = []"),
    (
        {
            "t": "multi\nline",
            "u": 'with "quotes" and \\ back',
            "e": "",
            "n": None,
            "b": True,
            "f": 1e-05,
            "neg": -3,
            "big": 1180591620717411303424,
        },
        't = """multi\nline"""\nu = "with \\"quotes\\" and \\\\ back"\ne = ""\nn = null\nb = true\nf = 1e-05\nneg = -3\nbig = 1180591620717411303424',
    ),
    (
        {"l": [1, "two", None, [1, [2]], {"k": {"z": [{"d": 1}]}}]},
        'l = [1, "two", null, [1, [2]], {\n    k {\n    z = [{\n    d = 1\n    }]\n    }\n    }]',
    ),
    ([1, {"a": 2}], "[1, {\n  a = 2\n}]"),
    ([], "[]"),
    (
        {
            "url": "http://x/y?a=b#c",
            "w": "C:\\x",
            "tab": "a\tb",
            "uni": "ü€😀",
            "num": "12",
            "tr": "true",
            "sp": "  lead",
        },
        'url = "http://x/y?a=b#c"\nw = "C:\\\\x"\ntab = "a\\tb"\nuni = "ü€😀"\nnum = "12"\ntr = "true"\nsp = "  lead"',
    ),
    ({"a": {"b": {"c": {"d": []}}}}, "a {\n  b {\n    c {\n      d = []\n    }\n  }\n}"),
    ({"$x": "${y}", "k:1": "a=b", "h#": 1}, '"$x" = "${y}"\n"k:1" = "a=b"\n"h#" = 1'),
    (
        {"list_of_dicts": [{"a": 1, "b": 2}, {"c": 3}], "tuple": [1, 2]},
        "list_of_dicts = [{\n    a = 1\n    b = 2\n  },\n  {\n    c = 3\n  }]\ntuple = [1, 2]",
    ),
    ({"dash-key": 1, "k/v": 2, "0": 3}, 'dash-key = 1\nk/v = 2\n"0" = 3'),
]


@pytest.mark.parametrize(("value", "text"), WRITTEN)
def test_what_clearml_writes(value: Any, text: str) -> None:
    """Each text means the value that it was made of, types included."""
    assert repr(parse(text)) == repr(value)


@pytest.mark.parametrize(
    "text", ["a = ", "= 1", "a {", "a { b = 1", "[1, 2", "a = ${b}", "a = 1 b = 2", "}", "a = [1 2]", "[" * 5000, "a"]
)
def test_what_is_not_read_is_refused(text: str) -> None:
    """Broken or unsupported texts raise ValueError, at any depth."""
    with pytest.raises(ValueError):
        parse(text)


@given(st.text(max_size=60))
def test_any_text_parses_or_is_refused(text: str) -> None:
    """No text makes the reader fail otherwise, or hang."""
    try:
        parse(text)
    except ValueError:
        pass
