"""Mask secrets in Python source: within literals and comments alone, so that it stays the same program.

A literal is masked when it is given to a telling name: assigned, as a keyword, a value of a dict, the default of an option,
and when it looks like a secret by itself.
"""

from __future__ import annotations

import re

from localtrack.capture import secret_texts
from localtrack.capture.python_lexer import KEYWORDS, Kind, Token, lex
from localtrack.capture.secret_looks import is_secret, kind_of, looks_secret
from localtrack.capture.secrets import MASK
from localtrack.records.plain import dataclass

#: Functions that are given a name and then what it holds, or holds otherwise.
_GETTERS = frozenset({"setdefault", "putenv", "getenv", "get", "getattr", "setattr", "pop", "setenv", "set", "config"})
_DEFAULTS = frozenset({"default", "value", "const", "initial", "fallback", "default_value"})
_LOGINS = frozenset({"login", "authenticate"})
_BEFORE_VALUE = frozenset({"=", ":", ":=", "(", "[", ",", "or", "else", "and", "if", "+", "return", "await"})


@dataclass(slots=True)
class _Frame:
    """What is known within one pair of brackets, or of a statement.

    Attributes:
        opener: the bracket; ``""`` for a statement.
        callee: name of the function that is called.
        given: name that the whole is given to.
        is_direct: whether it is given to that name itself, not to a function whose result is.
        told: a telling text among the arguments: the name of an option, of a variable.
        last: the text before the last comma.
        target: name that the value here is given to.
        annotated: name whose annotation this is.
        name: the last name that was read.
        is_simple: whether nothing but a name was read yet.
        key: the only text within the brackets.
    """

    opener: str = ""
    callee: str = ""
    given: str = ""
    is_direct: bool = True
    told: str = ""
    last: str = ""
    target: str = ""
    annotated: str = ""
    name: str = ""
    is_simple: bool = True
    key: str = ""


def mask_python(text: str, *, inside: str = "", with_magics: bool = False) -> str:
    """Return Python source without the secrets in its literals and comments; the rest, and the number of lines, stays.

    Args:
        text: source, or some lines of it.
        inside: the triple quotes of a literal within which it begins.
        with_magics: whether lines that begin with ``%`` or ``!`` are IPython's.
    """
    tokens = lex(text, inside=inside, with_magics=with_magics)
    pieces: list[str] = []
    place = 0
    is_key = False
    for start, stop, is_given, is_comment in _places(text, tokens):
        gap, content = text[place:start], text[start:stop]
        if "BEGIN" in gap or is_key:
            gap, is_key = _mask_gap(gap, is_key)
        pieces.append(secret_texts.mask_shapes(gap))
        if is_key and secret_texts.is_key_material(content):
            masked = _whole(content)
        elif is_given:
            masked = "\n".join(_whole(line) if line.strip() else line for line in content.split("\n"))
        elif is_comment:
            masked = secret_texts.mask_text(content)
        else:
            masked = secret_texts.mask_content(content)
        if "BEGIN" in content and masked == content:
            masked = secret_texts.mask_keys(content)
        is_key = ("BEGIN" in content and secret_texts.has_key(content)) or (
            is_key and not secret_texts.ends_key(content)
        )
        pieces.append(masked)
        place = stop
    gap = text[place:]
    if "BEGIN" in gap or is_key:
        gap, _ = _mask_gap(gap, is_key)
    return "".join([*pieces, secret_texts.mask_shapes(gap)])


def _mask_gap(gap: str, is_key: bool) -> tuple[str, bool]:
    """Mask lines of a private key that stand in no literal; tells too whether it goes on."""
    lines = gap.split("\n")
    for number, line in enumerate(lines):
        if is_key and secret_texts.ends_key(line):
            is_key = False
        elif is_key and secret_texts.is_key_material(line):
            lines[number] = MASK
        is_key = is_key or secret_texts.has_key(line)
    return "\n".join(lines), is_key


def _whole(content: str) -> str:
    """Return a mask in the place of a text, between the blanks and line ends around it."""
    found = re.fullmatch(r"([#\s]*)(.*?)((?:\\[nrt]|\s)*)", content, re.DOTALL | re.ASCII)
    if found is None or not found[2]:
        return content
    backslashes = len(found[2]) - len(found[2].rstrip("\\"))
    carry = "\\" if backslashes % 2 else ""  # the line goes on in the next one
    return f"{found[1]}{MASK}{carry}{found[3]}"


def _places(text: str, tokens: list[Token]) -> list[tuple[int, int, bool, bool]]:
    """Return where each literal's part and comment is, whether it is given to a telling name, and whether it is a comment."""
    given = _Reader(text).read(tokens)
    places = [(token.start, token.stop, False, True) for token in tokens if token.kind is Kind.COMMENT]
    parts = (part for token in tokens for part in token.parts)
    places += [(start, stop, (start, stop) in given, False) for start, stop in parts if stop > start]
    return sorted(places)


class _Reader:
    """Reads tokens, and finds which literals are given to a telling name."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._frames = [_Frame()]
        self._before = ""
        self._found: set[tuple[int, int]] = set()

    def read(self, tokens: list[Token]) -> set[tuple[int, int]]:
        known = [token for token in tokens if token.kind not in (Kind.COMMENT, Kind.NESTED)]
        for token, following in zip(known, [*known[1:], None], strict=False):
            frame = self._frames[-1]
            if token.kind is Kind.NEWLINE:
                if not frame.opener:
                    self._frames[-1] = _Frame()
                    self._before = ""
                continue
            word = self._text[token.start : token.stop]
            if token.kind is Kind.STRING:
                self._string(frame, token, following)
                self._before = "''"
                continue
            if token.kind is Kind.NAME:
                self._name(frame, word)
            else:
                self._operator(frame, word)
            self._before = word
        return self._found

    def _name(self, frame: _Frame, word: str) -> None:
        if word in KEYWORDS:
            frame.is_simple = False
            frame.name = ""
        else:
            frame.name = word

    def _operator(self, frame: _Frame, word: str) -> None:
        if word in ("(", "[", "{"):
            self._open(frame, word)
        elif word in (")", "]", "}"):
            self._close(frame)
        elif word == ",":
            frame.target = frame.annotated = frame.name = ""
            frame.is_simple = True
        elif word in ("=", ":="):
            names = (frame.annotated, frame.name)
            frame.target = next((name for name in names if kind_of(name)), frame.name or frame.annotated)
        elif word == ":":
            self._colon(frame)
        elif word == ";" and not frame.opener:
            self._frames[-1] = _Frame()
        elif word not in (".", "*"):
            frame.is_simple = False

    def _colon(self, frame: _Frame) -> None:
        if frame.opener == "{":
            frame.target = frame.last if self._before == "''" else frame.name
        elif frame.is_simple and frame.name and frame.opener != "[":
            frame.annotated = frame.name
            frame.name = ""
        elif not frame.opener:
            self._frames[-1] = _Frame()

    def _open(self, frame: _Frame, word: str) -> None:
        is_tail = self._before in (")", "]", "}", "''") or (frame.name != "" and self._before == frame.name)
        name, is_direct = self._target(frame)
        if word == "(" and is_tail:
            callee = frame.name
            given = "login_password" if callee in _LOGINS else name
            self._frames.append(_Frame(word, callee, given, False))
        elif word == "[" and is_tail:
            self._frames.append(_Frame("["))
            self._frames[-1].callee = "[]"
        else:
            self._frames.append(_Frame(word, "", name, is_direct and word != "{"))

    def _close(self, frame: _Frame) -> None:
        if len(self._frames) == 1:
            self._frames[-1] = _Frame()
            return
        self._frames.pop()
        outer = self._frames[-1]
        if frame.callee == "[]":
            outer.name = frame.key or outer.name
        else:
            outer.name = ""

    def _target(self, frame: _Frame) -> tuple[str, bool]:
        """Return the name that a value here is given to, and whether to itself."""
        if frame.target in _DEFAULTS:
            return (frame.told, True) if frame.told else (frame.given, frame.is_direct or bool(frame.given))
        return (frame.target, True) if frame.target else (frame.given, frame.is_direct)

    def _string(self, frame: _Frame, token: Token, following: Token | None) -> None:
        content = "".join(self._text[start:stop] for start, stop in token.parts)
        next_word = self._text[following.start : following.stop] if following else ""
        is_key = next_word == ":" and frame.opener == "{"
        before, frame.last = frame.last, content
        frame.key = content
        frame.is_simple = False
        if frame.callee == "[]" or is_key:
            return
        if not frame.target and not frame.told and kind_of(content.lstrip("-")) and not re.search(r"\s", content):
            frame.told = content.lstrip("-")
        elif frame.target and frame.opener == "{" and kind_of(content) and not frame.told:
            frame.told = content
        self._judge(frame, token, before)

    def _judge(self, frame: _Frame, token: Token, before: str) -> None:
        name, is_direct = self._target(frame)
        if self._before in ("==", "!="):
            name, is_direct = frame.name, False
        elif self._before not in _BEFORE_VALUE and self._before != "''":
            return
        elif not frame.target and self._before == "," and kind_of(before.lstrip("-")):
            name, is_direct = before.lstrip("-"), frame.callee in _GETTERS
        if not kind_of(name):
            return
        for start, stop in token.parts:
            value = re.sub(r"(?:\\[nrt])+$", "", self._text[start:stop])
            if token.is_formatted or "\n" in value.strip():
                is_given = all(looks_secret(line) for line in value.split("\n") if line.strip())
            else:
                is_given = is_secret(name, value, is_direct=is_direct)
            if is_given and value.strip():
                self._found.add((start, stop))
