"""Turn a notebook into a plain script: what IPython alone understands becomes comments.

Source: the notebook format, version 4 (https://nbformat.readthedocs.io/en/latest/format_description.html); IPython's
documentation of magics and help (https://ipython.readthedocs.io/en/stable/interactive/magics.html).
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

from localtrack.capture.secrets import masked_script
from localtrack.records.plain import dataclass

#: A notebook is parsed and kept up to this size: past it somebody stored data in its outputs.
NOTEBOOK_LIMIT_BYTES = 100 << 20

_IN_PYTHON = frozenset({"time", "timeit", "capture", "prun", "memit", "mprun"})
_CELL_MAGIC = re.compile(r"\s*%%(\w[\w.]*)")
_TIMED = re.compile(r"(\s*)%time[ \t]+(\S.*)")
_ASSIGNED = re.compile(r"(\s*)([A-Za-z_][\w., \[\]'\"]*?)[ \t]*=[ \t]*([%!](?!=).*)")
_HELP = re.compile(r"\s*(\?{1,2}\s*[%\w.*]+|[%\w.*\[\]]+\?{1,2})\s*;?\s*(#.*)?")
_SHELL_CALL = re.compile(r"\s*get_ipython\(\s*\)\s*\.")
_BARE_COMMAND = re.compile(r"\s*(pip|conda|mamba|cd|ls|pwd|mkdir|rm|cp|mv|cat|who|whos|matplotlib|load_ext|env)\b")
#: Two lines, since an encoding may be declared in the first two and the script is UTF-8.
_HEAD = "# The code of a notebook, as one script.\n# Magics and commands of IPython are comments.\n"
_AWAITED = "asyncio.run(eval(compile("
_NAMES_OF_IPYTHON = ("display", "get_ipython")
_TOKEN = re.compile(r"\"{3}|'{3}|\"|'|#|\\.|[()\[\]{}]|\\$", re.DOTALL)
_CLOSING = {")": "(", "]": "[", "}": "{"}


class NotebookError(ValueError):
    """A file that is no notebook this module reads; the text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell with code.

    Attributes:
        source: its text.
        id: its id in the notebook; ``""`` where it has none.
    """

    source: str
    id: str = ""


def read_notebook(path: Path) -> bytes:
    """Return a notebook's bytes.

    Raises:
        NotebookError: larger than is kept.
        OSError: it can't be read.
    """
    with path.open("rb") as stream:
        data = stream.read(NOTEBOOK_LIMIT_BYTES + 1)
    if len(data) > NOTEBOOK_LIMIT_BYTES:
        raise NotebookError(
            f"notebook {path} is larger than {NOTEBOOK_LIMIT_BYTES >> 20} MiB and is not kept; clear its outputs"
        )
    return data


def parse_cells(data: bytes, name: str) -> list[Cell]:
    """Return the code cells of a notebook in the order of the document.

    Args:
        data: the file's bytes.
        name: for messages.

    Raises:
        NotebookError: they are no notebook of format 4.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise NotebookError(f"notebook {name} can't be read ({error}); save it again") from None
    number = document.get("nbformat") if isinstance(document, dict) else None
    if number != 4:
        known = f"is of format {number!r}" if number is not None else "says no format"
        raise NotebookError(f"notebook {name} {known} and only format 4 is read; open it in Jupyter and save it")
    cells = document.get("cells")
    if not isinstance(cells, list):
        raise NotebookError(f"notebook {name} has no list of cells; save it again")
    found = []
    for cell in cells:
        if isinstance(cell, dict) and cell.get("cell_type") == "code":
            source = cell.get("source", "")
            text = "".join(part for part in source if isinstance(part, str)) if isinstance(source, list) else source
            if isinstance(text, str):
                found.append(Cell(text, str(cell.get("id") or "")))
    return found


def masked_notebook(data: bytes) -> bytes:
    """Return a notebook that parses with the secrets in its cells masked; the very bytes where there is none."""
    document = json.loads(data)
    is_masked = False
    for cell in document["cells"]:
        source = cell.get("source") if isinstance(cell, dict) else None
        text = "".join(part for part in source if isinstance(part, str)) if isinstance(source, list) else source
        if not isinstance(text, str):
            continue
        before = text.encode("utf-8", "backslashreplace")
        after = masked_script(before)
        if after != before:
            cell["source"] = after.decode("utf-8", "replace")
            is_masked = True
    return json.dumps(document, indent=1).encode() if is_masked else data


def with_unsaved(saved: Sequence[Cell], unsaved: Iterable[Cell]) -> list[Cell]:
    """Return the cells of a file as they are in the editor, as far as is known: with those that ran since it was saved.

    Args:
        saved: the file's cells.
        unsaved: cells in the order in which they ran after that; the last one of an id counts.
    """
    cells = list(saved)
    places = {cell.id: place for place, cell in enumerate(cells) if cell.id}
    known = {cell.source.strip() for cell in cells}
    for cell in unsaved:
        if cell.id in places:
            cells[places[cell.id]] = cell
        elif cell.source.strip() not in known:
            if cell.id:
                places[cell.id] = len(cells)
            cells.append(cell)
            known.add(cell.source.strip())
    return cells


def build_notebook(cells: Iterable[Cell]) -> bytes:
    """Return a notebook with these cells and no outputs."""
    document = {
        "cells": [
            {"cell_type": "code", "execution_count": None, "id": cell.id or f"cell-{number}", "metadata": {},
             "outputs": [], "source": cell.source.splitlines(keepends=True)}
            for number, cell in enumerate(cells, 1)
        ],
        "metadata": {"language_info": {"name": "python"}}, "nbformat": 4, "nbformat_minor": 5,
    }  # fmt: skip
    return json.dumps(document, indent=1).encode()


def to_script(sources: Sequence[str]) -> bytes:
    """Return one script of the code of several cells; each begins with ``# %%``, as editors know it."""
    futures: dict[str, None] = {}
    bodies = [f"# %%\n{_without_futures(text, futures)}\n" for text in map(convert_cell, sources) if text]
    whole = "\n".join(bodies)
    head = [_HEAD, *(f"{line}\n" for line in futures)]
    head += [_fallback(name) for name in _NAMES_OF_IPYTHON if re.search(rf"^[^#\n]*\b{name}\(", whole, re.MULTILINE)]
    if _AWAITED in whole:
        head.append("import ast\nimport asyncio\n")
    return "".join([*head, "\n", whole]).encode("utf-8", "backslashreplace")


def _without_futures(text: str, futures: dict[str, None]) -> str:
    """Take the lines that import from ``__future__`` out: in a script they come before everything else."""
    if "__future__" not in text:
        return text
    lines = text.split("\n")
    for node in ast.parse(text).body:
        if (
            isinstance(node, ast.ImportFrom)
            and node.module == "__future__"
            and lines[node.lineno - 1].startswith("from")
        ):
            futures[ast.unparse(node)] = None
            for number in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[number] = f"# {lines[number]}"
    return "\n".join(lines)


def _fallback(name: str) -> str:
    where, stand_in = {"display": ("IPython.display", "print"), "get_ipython": ("IPython", "lambda: None")}[name]
    return f"try:\n    from {where} import {name}\nexcept ImportError:\n    {name} = {stand_in}\n"


def convert_cell(source: str) -> str:
    """Return a cell's code as plain Python; what no plain script can run is commented, and nothing is left out."""
    text = source.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\\0").strip("\n")
    if not text.strip():
        return ""
    body = _without_shell(text) if _is_python(text) else _without_magics(text)
    if _is_python(body):
        return body
    if _is_python(body, ast.PyCF_ALLOW_TOP_LEVEL_AWAIT):
        return f"{_AWAITED}{body!r}, '<cell>', 'exec', ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)) or asyncio.sleep(0))"
    return "\n".join(f"# {line}".rstrip() for line in text.split("\n"))


def _is_python(text: str, flags: int = 0) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an odd escape in the user's string is not ours to tell
            compile(text, "<cell>", "exec", flags=flags, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return False
    return True


def _without_shell(text: str) -> str:
    """Comment the calls of IPython's shell in valid code."""
    if "get_ipython" not in text:
        return text
    lines = text.split("\n")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and _SHELL_CALL.match(lines[node.lineno - 1]):
            last = node.end_lineno or node.lineno
            lines[node.lineno - 1] = _as_comment(lines[node.lineno - 1])
            for number in range(node.lineno, last):
                lines[number] = f"# {lines[number]}"
    return "\n".join(lines)


def _without_magics(text: str) -> str:
    lines = text.split("\n")
    magic = _CELL_MAGIC.match(lines[0])
    if magic:
        if magic[1] not in _IN_PYTHON:
            return "\n".join(f"# {line}".rstrip() for line in lines)
        head = f"# {lines[0].strip()}"
        body = "\n".join(lines[1:])
        return f"{head}\n{_without_shell(body) if _is_python(body) else _without_magics(body)}" if body else head
    out: list[str] = []
    state = _Brackets()
    is_continued = False  # a magic's line that a backslash carries on
    for line in lines:
        if is_continued:
            out.append(f"# {line.strip()}")
            is_continued = line.endswith("\\")
            continue
        replaced = _replace_magic(line) if state.is_between_statements else None
        if replaced is None:
            state.feed(line)
            out.append(line)
        else:
            is_continued = line.endswith("\\")
            out.append(replaced.removesuffix("\\") if is_continued else replaced)
    return "\n".join(out)


def _replace_magic(line: str) -> str | None:
    """Return what stands for a line that begins a statement and is IPython's own; None for Python."""
    stripped = line.strip()
    if not stripped or stripped[0] == "#":
        return None
    timed = _TIMED.fullmatch(line)
    if timed and _is_python(timed[2]):
        return f"{timed[1]}{timed[2]}  # %time"
    if stripped[0] in "%!" or _HELP.fullmatch(line) or _SHELL_CALL.match(line):
        return _as_comment(line)
    assigned = _ASSIGNED.fullmatch(line)
    if assigned:
        return f"{assigned[1]}{assigned[2]} = None  # {assigned[3]}"
    if _BARE_COMMAND.match(line) and not _is_python(stripped) and not stripped.endswith(("\\", "(", "[", "{", ",")):
        return _as_comment(line)
    return None


def _as_comment(line: str) -> str:
    """Return a comment; in a block, with a statement before it, since that may have no other."""
    indent = line[: len(line) - len(line.lstrip())]
    return f"{indent}pass  # {line.strip()}" if indent else f"# {line.strip()}"


class _Brackets:
    """Tells of lines of Python whether the next one begins a statement, without its grammar."""

    def __init__(self) -> None:
        self._open: list[str] = []
        self._quote = ""
        self._is_carried_on = False

    @property
    def is_between_statements(self) -> bool:
        return not (self._open or self._quote or self._is_carried_on)

    def feed(self, line: str) -> None:
        self._is_carried_on = False
        for match in _TOKEN.finditer(line):
            token = match[0]
            if self._quote:
                if token == self._quote:
                    self._quote = ""
                elif len(self._quote) == 1 and token == self._quote * 3:
                    self._quote = ""  # one closes; the two behind it are an empty text
            elif token == "#":
                break
            elif token[0] in "\"'":
                self._quote = token
            elif token == "\\":
                self._is_carried_on = True
            elif token in "([{":
                self._open.append(token)
            elif token in _CLOSING and self._open and self._open[-1] == _CLOSING[token]:
                self._open.pop()
        if len(self._quote) == 1:  # such a text ends with its line, unless a backslash carries it on
            self._is_carried_on = line.endswith("\\")
            self._quote = self._quote if self._is_carried_on else ""
