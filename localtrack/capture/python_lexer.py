"""Cut Python source, whole or in pieces, into names, operators, literals and comments.

Unlike ``tokenize`` it takes whatever it is given (the lines of a patch, a cell with magics, a file of an odd encoding read as
Latin-1), never fails, is linear, and knows the constant parts of f-strings, also nested ones, under every Python.

Source: The Python Language Reference, "Lexical analysis".
"""

from __future__ import annotations

import re
from enum import Enum
from functools import cache
from typing import NamedTuple

_FIELD_LIMIT = 4096  # a field of an f-string that is longer is none
_MOST_FAILURES = 50  # source has none; of a text that is no source f-strings are read as plain ones after so many
_DEEPEST = 4  # f-strings within f-strings, further in they are plain ones

KEYWORDS = frozenset({
    "and", "as", "assert", "async", "await", "class", "def", "del", "elif", "else", "except", "finally", "for", "from", "if",
    "import", "in", "is", "lambda", "not", "or", "raise", "return", "try", "while", "with", "yield",
})  # fmt: skip


class Kind(Enum):
    """Kinds of tokens. A string within a field of an f-string is nested; a number is an operator."""

    NAME = "name"
    OPERATOR = "operator"
    STRING = "string"
    NESTED = "nested"
    COMMENT = "comment"
    NEWLINE = "newline"


_DEPTHS = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}
_KINDS: dict[str | None, Kind] = {
    "name": Kind.NAME, "operator": Kind.OPERATOR, "number": Kind.OPERATOR, "comment": Kind.COMMENT, "newline": Kind.NEWLINE,
}  # fmt: skip


class Token(NamedTuple):
    """A token.

    Attributes:
        kind: its kind.
        start: where it begins in the text.
        stop: where it ends.
        parts: of a string, where each of its constant parts begins and ends.
        is_formatted: whether it is an f-string with fields.
    """

    kind: Kind
    start: int
    stop: int
    parts: tuple[tuple[int, int], ...] = ()
    is_formatted: bool = False


def lex(text: str, *, inside: str = "", with_magics: bool = False) -> list[Token]:
    """Return the tokens of a text.

    Args:
        text: source; what can't be read is passed over.
        inside: the triple quotes of a literal within which it begins.
        with_magics: whether a statement that begins with ``%`` or ``!`` is IPython's, and a comment here.
    """
    lexer = _Lexer(text, with_magics)
    lexer.run(inside)
    return lexer.tokens


@cache
def _pattern() -> re.Pattern[str]:
    return re.compile(
        r"(?P<string>(?:[rbfutRBFUT]|[bBfFtT][rR]|[rR][bBfFtT])?(?:\"{3}|'{3}|\"|'))"
        r"|(?P<comment>#[^\r\n]*)|(?P<name>[A-Za-z_\x80-\U0010ffff][\w\x80-\U0010ffff]*)|(?P<number>\.?\d[\w.]*)"
        r"|(?P<newline>\r\n|\r|\n)|(?P<skip>\\\r?\n|[ \t\f]+)|(?P<operator>==|!=|<=|>=|:=|->|.)",
        re.ASCII | re.DOTALL,
    )


@cache
def _body(quote: str, is_formatted: bool) -> re.Pattern[str]:
    """Return the pattern of a literal up to its end, or, where it is formatted, to its next field."""
    mark, field = quote[0], "{}" if is_formatted else ""
    if len(quote) == 1:
        return re.compile(rf"[^\\{mark}{field}\r\n]*(?:\\(?:\r\n|.)[^\\{mark}{field}\r\n]*)*", re.DOTALL)
    return re.compile(rf"[^\\{mark}{field}]*(?:(?:\\.|{mark}(?!{mark * 2}))[^\\{mark}{field}]*)*", re.DOTALL)


class _Lexer:
    def __init__(self, text: str, with_magics: bool) -> None:
        self.text = text
        self.tokens: list[Token] = []
        self._with_magics = with_magics
        self._depth = 0
        self._failures = 0

    def run(self, inside: str) -> None:
        place = self._plain(0, 0, inside, Kind.STRING) if inside else 0
        is_start = True
        match = _pattern().match
        while place < len(self.text):
            if is_start and self._with_magics and self._depth <= 0:
                magic = re.compile(r"[ \t]*[%!][^\r\n]*").match(self.text, place)
                if magic:
                    self.tokens.append(Token(Kind.COMMENT, place, magic.end()))
                    place = magic.end()
                    continue
            found = match(self.text, place)
            if found is None:  # it takes any character, so this never happens
                return
            group = found.lastgroup
            is_start = group == "newline"
            place = found.end() if group == "skip" else self._take(found, 0)

    def _take(self, found: re.Match[str], nesting: int) -> int:
        """Add what was found, and return where it ends."""
        group, start, stop = found.lastgroup, found.start(), found.end()
        if group == "string":
            return self._string(start, stop, nesting)
        if nesting:
            if group == "comment":
                self.tokens.append(Token(Kind.COMMENT, start, stop))
            return stop
        if group == "operator":
            self._depth += _DEPTHS.get(found[0], 0)
        if group in _KINDS:
            self.tokens.append(Token(_KINDS[group], start, stop))
        return stop

    def _string(self, start: int, content: int, nesting: int) -> int:
        opening = self.text[start:content]
        quote = opening.lstrip("rbfutRBFUT")
        kind = Kind.NESTED if nesting else Kind.STRING
        if any(letter in "fFtT" for letter in opening) and nesting < _DEEPEST and self._failures < _MOST_FAILURES:
            stop = self._formatted(start, content, quote, kind, nesting)
            if stop is not None:
                return stop
            self._failures += 1
        return self._plain(start, content, quote, kind)

    def _plain(self, start: int, content: int, quote: str, kind: Kind) -> int:
        found = _body(quote, False).match(self.text, content)
        stop = found.end() if found else content
        self.tokens.append(Token(kind, start, min(stop + len(quote), len(self.text)), ((content, stop),)))
        return stop + len(quote) if self.text.startswith(quote, stop) else stop

    def _formatted(self, start: int, content: int, quote: str, kind: Kind, nesting: int) -> int | None:
        """Take an f-string and return where it ends; None, and nothing taken, where its fields can't be read."""
        known, depth = len(self.tokens), self._depth
        parts: list[tuple[int, int]] = []
        place = begin = content
        while True:
            found = _body(quote, True).match(self.text, place)
            place = found.end() if found else place
            if self.text.startswith(("{{", "}}"), place):
                place += 2
                continue
            if not self.text.startswith("{", place):
                break
            parts.append((begin, place))
            after = self._field(place + 1, quote, nesting + 1)
            if after is None:
                del self.tokens[known:]
                self._depth = depth
                return None
            place = begin = after
        if not self.text.startswith(quote, place):
            del self.tokens[known:]
            return None
        parts.append((begin, place))
        token = Token(kind, start, place + len(quote), tuple(parts), len(parts) > 1)
        self.tokens.insert(known, token)
        return token.stop

    def _field(self, place: int, quote: str, nesting: int) -> int | None:
        """Return where a field ends that begins here; None where it does not."""
        limit = min(len(self.text), place + _FIELD_LIMIT)
        match = _pattern().match
        depth = 0
        while place < limit:
            char = self.text[place]
            if depth == 0 and char == "}":
                return place + 1
            if depth == 0 and char == ":":
                return self._specification(place + 1, quote, nesting)
            if char in "([{":
                depth += 1
            elif char in ")]}":
                depth -= 1
            found = match(self.text, place)
            if found is None or depth < 0:
                return None
            if self.text.startswith(quote, place) and not self._may_nest(found, quote):
                return None
            place = found.end() if found.lastgroup == "operator" else self._take(found, nesting)
        return None

    def _may_nest(self, found: re.Match[str], quote: str) -> bool:
        """Tell whether the quotes of the literal itself may begin another one in a field: from Python 3.12 on they do."""
        end = _body(found[0], False).match(self.text, found.end())
        return (
            end is not None and self.text.startswith(quote, end.end()) and "}" in self.text[end.end() :][:_FIELD_LIMIT]
        )

    def _specification(self, place: int, quote: str, nesting: int) -> int | None:
        limit = min(len(self.text), place + _FIELD_LIMIT)
        while place < limit and not self.text.startswith(quote, place):
            char = self.text[place]
            if char == "}":
                return place + 1
            after = self._field(place + 1, quote, nesting + 1) if char == "{" and nesting < _DEEPEST else place + 1
            if after is None:
                return None
            place = after
        return None
