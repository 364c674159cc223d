"""Notebooks become plain scripts; what is no notebook is refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localtrack.capture import notebook_code
from localtrack.capture.notebook_code import (
    Cell,
    NotebookError,
    build_notebook,
    convert_cell,
    parse_cells,
    read_notebook,
    to_script,
)


def notebook(*sources: Any, **fields: Any) -> bytes:
    """Return a notebook's bytes."""
    cells = [{"cell_type": "code", "source": source, "metadata": {}, "outputs": []} for source in sources]
    return json.dumps({"nbformat": 4, "nbformat_minor": 4, "metadata": {}, "cells": cells, **fields}).encode()


@pytest.mark.parametrize(
    ("cell", "script"),
    [
        ("%matplotlib inline\nx = 1", "# %matplotlib inline\nx = 1"),
        ("!pip install \\\n  torch\nx = 1", "# !pip install\n# torch\nx = 1"),
        ("if x:\n    !ls\nelse:\n    y = 2", "if x:\n    pass  # !ls\nelse:\n    y = 2"),
        ("files = !ls -1\nlen(files or ())", "files = None  # !ls -1\nlen(files or ())"),
        ("text = '''\n%kept\n!kept\n'''\n%magic", "text = '''\n%kept\n!kept\n'''\n# %magic"),
        ("x = (7\n  % 3)\n!ls", "x = (7\n  % 3)\n# !ls"),
        ("x = 7 \\\n  % 3\n!ls", "x = 7 \\\n  % 3\n# !ls"),
        ("s = \"a\\\"b\" # '''\n%m", "s = \"a\\\"b\" # '''\n# %m"),
        ("%%time\nx = 1\n%time y = 2", "# %%time\nx = 1\ny = 2  # %time"),
        ("%%bash\nrm -r data", "# %%bash\n# rm -r data"),
        ("df.head?\n?df\nx = 1", "# df.head?\n# ?df\nx = 1"),
        ("pip install torch\nx = 1", "# pip install torch\nx = 1"),
        ("pip = 3\nls = pip\n%m", "pip = 3\nls = pip\n# %m"),
        ("get_ipython().system('ls')\nx = 1", "# get_ipython().system('ls')\nx = 1"),
        ("def f(:\n  x", "# def f(:\n#   x"),
        ("\n\n", ""),
    ],
)
def test_what_ipython_alone_understands_becomes_comments(cell: str, script: str) -> None:
    """Magics, commands, help and broken cells are comments; Python stays as it is."""
    assert "\n".join(line.rstrip() for line in convert_cell(cell).split("\n")) == script


def test_the_script_runs_without_ipython() -> None:
    """Top-level await, display and a late __future__ work in a plain script."""
    source = to_script([
        "import asyncio\nasync def f():\n    return 3\n!ls",
        "from __future__ import annotations\ndef g(x: missing): return x",
        "got = await f()",
        "shell = get_ipython()\nif shell is not None:\n    display(got)",
    ])  # fmt: skip
    names: dict[str, Any] = {}
    exec(compile(source, "script.py", "exec", dont_inherit=True), names)
    assert names["got"] == 3
    assert names["g"](4) == 4


@given(st.lists(st.text(alphabet="ab=1 \n\t%!?'\"#\\()[]:;\0\rä\ud800", max_size=40), max_size=4))
def test_whatever_is_in_the_cells_the_script_compiles(sources: list[str]) -> None:
    """No cell breaks the script, and an encoding that one declares does not count."""
    data = to_script(["# coding: latin-1", *sources])
    compile(data, "script.py", "exec", dont_inherit=True)
    assert data.decode("utf-8").startswith("# The code of a notebook")


def test_code_cells_come_in_the_order_of_the_document() -> None:
    """Sources are texts or lists of lines; other cells are left out."""
    data = notebook("a = 1", ["b = 2\n", "c = 3"], 5, [None, "d"])
    document = json.loads(data)
    document["cells"].insert(1, {"cell_type": "markdown", "source": "# title"})
    document["cells"].insert(1, "no cell")
    assert [cell.source for cell in parse_cells(json.dumps(document).encode(), "n")] == ["a = 1", "b = 2\nc = 3", "d"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (notebook("x")[:-20], "can't be read"),
        (b"\x89PNG\r\n\x1a\n\0\xff", "can't be read"),
        (b"", "can't be read"),
        (b"[" * 100_000, "can't be read"),
        (notebook("x", nbformat=3), "format 3"),
        (notebook("x", cells={}), "no list of cells"),
        (b"[1]", "says no format"),
        (b"null", "says no format"),
    ],
)
def test_what_is_no_notebook_is_refused_with_its_name(data: bytes, reason: str) -> None:
    """Truncated, binary, empty, nested, old and other files each say what they are."""
    with pytest.raises(NotebookError, match=rf"notebook train\.ipynb .*{reason}"):
        parse_cells(data, "train.ipynb")


def test_a_huge_notebook_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the limit the reason is given, and what to do."""
    monkeypatch.setattr(notebook_code, "NOTEBOOK_LIMIT_BYTES", 100)
    path = tmp_path / "n.ipynb"
    path.write_bytes(notebook("x" * 200))
    with pytest.raises(NotebookError, match="clear its outputs"):
        read_notebook(path)


def test_a_notebook_is_made_of_cells() -> None:
    """It holds the cells that it was made of."""
    cells = [Cell("a = 1\nb = 2", "one"), Cell("c", "two")]
    assert parse_cells(build_notebook(cells), "n") == cells
