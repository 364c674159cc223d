"""Reads the HOCON in which ClearML keeps connected dictionaries: what its converter writes, not the whole language.

Includes, substitutions, ``+=`` and unquoted texts with blanks inside are not read.

Source: the HOCON specification (github.com/lightbend/config, HOCON.md); texts written by clearml 2.1.12, measured.
"""

from __future__ import annotations

import json
import re
from typing import Any

_TOKEN = re.compile(
    r'(?P<blank>[ \t\r]+|(?:#|//)[^\n]*)|(?P<end>[\n,]+)|(?P<mark>[{}\[\]=:])|"""(?P<long>.*?)"""'
    r'|(?P<text>"(?:[^"\\\n]|\\.)*")|(?P<word>[^\s{}\[\]=:,"#]+)',
    re.DOTALL,
)
_WORDS = {"true": True, "false": False, "null": None}
_DEPTH = 100


def parse(text: str) -> Any:
    """Return the value of a HOCON text.

    Raises:
        ValueError: it is none, or uses what is not read here.
    """
    reader = _Reader(_tokens(text))
    reader.skip_ends()
    value = reader.value(0) if reader.peek() in (("mark", "["), ("mark", "{")) else reader.members(0, "")
    reader.skip_ends()
    if reader.peek() != ("", ""):
        raise ValueError(f"unexpected {reader.peek()[1]!r:.40}")
    return value


def _tokens(text: str) -> list[tuple[str, str]]:
    found, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"unexpected {text[position : position + 20]!r}")
        position = match.end()
        kind = match.lastgroup or ""
        if kind != "blank":
            found.append((kind, match[kind]))
    return found


class _Reader:
    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._at = 0

    def peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("", "")

    def _take(self) -> tuple[str, str]:
        token = self.peek()
        self._at += 1
        return token

    def skip_ends(self) -> None:
        while self.peek()[0] == "end":
            self._at += 1

    def members(self, depth: int, closing: str) -> dict[str, Any]:
        result: dict[str, Any] = {}
        while True:
            self.skip_ends()
            if self.peek() == ("mark", closing):
                self._at += 1
                return result
            if self.peek() == ("", "") and not closing:
                return result
            path = self._key()
            if self.peek() in (("mark", "="), ("mark", ":")):
                self._at += 1
                self.skip_ends()
            elif self.peek() != ("mark", "{"):
                raise ValueError(f"no value for the key {path[-1]!r:.40}")
            _put(result, path, self.value(depth + 1))
            if self.peek()[0] not in ("end", "") and self.peek() != ("mark", closing):
                raise ValueError(f"unexpected {self.peek()[1]!r:.40}")

    def _key(self) -> list[str]:
        kind, text = self._take()
        if kind == "text":
            return [str(json.loads(text, strict=False))]
        if kind != "word":
            raise ValueError(f"no key: {text!r:.40}")
        return text.split(".")

    def value(self, depth: int) -> Any:
        if depth > _DEPTH:
            raise ValueError("nested too deep")
        kind, text = self._take()
        if kind == "text":
            return json.loads(text, strict=False)
        if kind == "long":
            return text
        if kind == "word":
            return _word(text)
        if (kind, text) == ("mark", "{"):
            return self.members(depth, "}")
        if (kind, text) == ("mark", "["):
            return self._items(depth)
        raise ValueError(f"no value: {text!r:.40}")

    def _items(self, depth: int) -> list[Any]:
        result: list[Any] = []
        while True:
            self.skip_ends()
            if self.peek() == ("mark", "]"):
                self._at += 1
                return result
            result.append(self.value(depth + 1))
            if self.peek()[0] != "end" and self.peek() != ("mark", "]"):
                raise ValueError(f"unexpected {self.peek()[1]!r:.40}")


def _put(result: dict[str, Any], path: list[str], value: Any) -> None:
    for part in path[:-1]:
        inner = result.setdefault(part, {})
        if not isinstance(inner, dict):
            inner = result[part] = {}
        result = inner
    result[path[-1]] = value


def _word(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if text.startswith("$"):
        raise ValueError(f"a substitution: {text!r:.40}")
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
