"""Mask the secrets that a patch adds, each file's by its language.

Source: the unified format, as ``git diff`` writes it.
"""

from __future__ import annotations

import re

from localtrack.capture.python_lexer import KEYWORDS, Kind, lex
from localtrack.capture.secret_texts import mask_code, mask_text
from localtrack.capture.secrets import may_have_secret

_HUNK = re.compile(rb"@@ -\d+(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_PYTHON = (".py", ".pyi", ".pyw", ".pyx")
#: In these a bare word is a name and no value; a notebook's text is JSON around code.
_CODE = frozenset({
    "ipynb", "js", "jsx", "mjs", "ts", "tsx", "vue", "java", "kt", "scala", "groovy", "c", "h", "cc", "cpp", "cxx", "hpp", "cu",
    "cuh", "go", "rs", "rb", "php", "swift", "m", "mm", "cs", "lua", "r", "jl", "pl", "sql",
})  # fmt: skip
_SPOKEN = KEYWORDS | {"case", "global", "match", "nonlocal", "type", "print", "exec"}  # another word may follow these


def mask_patch(diff: bytes) -> bytes:
    """Return a patch with the secrets in its added lines masked; it applies as before."""
    lines = diff.split(b"\n")
    number = 0
    path = ""
    while number < len(lines):
        line = lines[number]
        if line.startswith(b"+++ ") and number > 0 and lines[number - 1].startswith(b"--- "):
            path = line[4:].decode("latin-1").rstrip('\t\r "')
        found = _HUNK.match(line)
        number += 1
        if found:
            stop = _end(lines, number, _count(found[1]), _count(found[3]))
            _mask_hunk(lines, number, stop, path, is_whole=int(found[2]) <= 1)
            number = stop
    return b"\n".join(lines)


def _count(text: bytes | None) -> int:
    return 1 if text is None else int(text)


def _end(lines: list[bytes], number: int, old: int, new: int) -> int:
    """Return the line behind a hunk, by the numbers of lines that its head names."""
    while number < len(lines) and (old > 0 or new > 0):
        mark = lines[number][:1]
        if mark not in (b" ", b"+", b"-", b"\\", b""):
            break
        old -= mark in (b" ", b"-", b"")
        new -= mark in (b" ", b"+", b"")
        number += 1
    return number


def _mask_hunk(lines: list[bytes], start: int, stop: int, path: str, *, is_whole: bool) -> None:
    """Mask one hunk's added lines in place; what is around them tells where literals begin."""
    places = [place for place in range(start, stop) if lines[place][:1] in (b" ", b"+", b"")]
    added = [place for place in places if lines[place][:1] == b"+"]
    data = b"\n".join(lines[place][1:] for place in added)
    if not may_have_secret(data.decode("latin-1")):
        return
    first = lines[places[0]][1:]
    is_python = path.endswith(_PYTHON) or (is_whole and first.startswith(b"#!") and b"python" in first)
    if is_python:
        data = b"\n".join(lines[place][1:] for place in places)
    try:
        text, encoding = data.decode(), "utf-8"
    except UnicodeDecodeError:
        text, encoding = data.decode("latin-1"), "latin-1"
    masked = _mask_python(text, is_whole) if is_python else _mask_other(text, path)
    if masked != text:
        changed = masked.encode(encoding).split(b"\n")
        for place, line in zip(places if is_python else added, changed, strict=True):
            if lines[place][:1] == b"+":
                lines[place] = b"+" + line


def _mask_other(text: str, path: str) -> str:
    is_code = path.rpartition(".")[2].lower() in _CODE
    return mask_code(text) if is_code else mask_text(text)


def _mask_python(text: str, is_whole: bool) -> str:
    from localtrack.capture.python_secrets import mask_python

    return mask_python(text, inside="" if is_whole else _inside(text))


def _inside(text: str) -> str:
    """Return the quotes of the literal in which some lines of source begin: those by which the rest reads best."""
    quotes = [quote for quote in ('"""', "'''") if quote in text]
    return min(("", *quotes), key=lambda quote: _oddity(text, quote)) if quotes else ""


def _oddity(text: str, inside: str) -> int:
    """Return how much of a text is no Python: words that follow on each other, literals without an end."""
    oddities = 0
    was_word = False
    for token in lex(text, inside=inside):
        word = text[token.start : token.stop]
        is_word = token.kind is Kind.NAME and word not in _SPOKEN
        oddities += is_word and was_word
        if token.kind is Kind.STRING and not word.endswith(("'", '"')):
            oddities += token.stop < len(text)
        oddities += token.kind is Kind.OPERATOR and word in ("?", "$", "!")
        was_word = is_word
    return oddities
