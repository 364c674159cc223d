"""Tell what a secret looks like: names that one is given to, and values that are one or plainly none.

People choose passwords, machines make keys and tokens. So a word that is given to ``password`` is a secret, while one that is
given to ``api_key`` is the name of a field; neither is an identifier of several words, a path, an option, a place holder.
"""

from __future__ import annotations

import re
from enum import Enum
from functools import cache, lru_cache

SHORTEST = 8  # a shorter value of a key or token is a word ("EMPTY", "none")
_SHORTEST_WORD = 6  # of what people choose, when it has letters alone; with digits it is two less

_ANYWHERE = (
    r"password|passwd|passphrase|passcode|client[_-]?secret|(?:api|access|private|secret|account|encryption)[_-]?key"
    r"|(?:auth|access|api|refresh|bearer|bot|hub|hf|session|id|secret|github|gitlab|wandb)[_-]?token"
)
_CHOSEN = r"password|passwd|passphrase|passcode|pwd|secret|credentials?"
_PLACEHOLDERS = (
    r"[*x.#?_:-]+", r"none|null|nil|undefined|empty|todo|fixme|tbd|true|false|default|auto|required|optional|missing|unset",
    r"not[_ -]?[a-z]+", r"n/?a", r"change[_ -]?(?:me|it)", r"placeholder|redacted|hidden|masked|string|str|text|bytes|prompt",
    r"<[^<>]*>", r"\[[^\[\]]*\]", r"\$\w+|\$\{.*\}|\$\(.*\)", r"%[sdr]|%\(\w+\)[sd]|%\w+%", r"\{\{.*\}\}|\{[\w.\[\]!:]*\}",
    r"[a-z][a-z0-9+.-]*://\S*", r".{0,12}\.\.\.", r"--?[a-z]+(?:[_-][a-z]+)*",
)  # fmt: skip
_EXTENSION = (
    r"json|ya?ml|toml|ini|env|txt|pem|key|crt|cer|pub|p12|pfx|jks|cfg|conf|py|csv|log|gpg|enc|pt|ckpt|safetensors"
)


class Kind(Enum):
    """What a name says of its value.

    Attributes:
        CHOSEN: a secret that people choose, so that any word may be it.
        MADE: a secret that machines make.
        LIKELY: it may be a secret, where it looks like one (``token``, ``pass``).
        RANDOM: it is a secret where it is random (``key``).
    """

    CHOSEN = "chosen"
    MADE = "made"
    LIKELY = "likely"
    RANDOM = "random"


@cache
def _re(pattern: str, flags: int = 0) -> re.Pattern[str]:
    return re.compile(pattern, flags)


@lru_cache(maxsize=4096)
def kind_of(name: str) -> Kind | None:
    """Return what a name, its last part by ``/`` and ``.``, says of its value; None where that is no secret."""
    last = re.split(r"[/.]", name)[-1].strip().lstrip("-+")
    boundary = r"(?:^|[^A-Za-z]|(?<=[a-z0-9])(?=[A-Z]))"
    named = _re(rf"(?i:{_ANYWHERE})s?$|{boundary}(?i:secrets?|credentials?|pwd)$")
    if named.search(last):
        return Kind.CHOSEN if _re(rf"(?:{_CHOSEN})s?$", re.IGNORECASE).search(last) else Kind.MADE
    found = _re(rf"{boundary}(?P<word>(?i:token|pass|auth|key))s?$").search(last)
    if found is None:
        return None
    return Kind.RANDOM if found["word"].lower() == "key" else Kind.LIKELY


def is_telling(name: str) -> bool:
    """Tell whether a name says that its value is a secret, whatever it looks like."""
    kind = kind_of(name)
    return kind in (Kind.CHOSEN, Kind.MADE) or re.split(r"[/.]", name)[-1].lstrip("-").lower() == "token"


def is_secret(name: str, value: str, *, is_direct: bool = True) -> bool:
    """Tell whether a value that is given to a name is a secret.

    Args:
        name: any.
        value: as it is written.
        is_direct: whether it is given to the name itself; else it only stands near, and must look like a secret.
    """
    kind = kind_of(name)
    value = value.strip()
    if kind is None or is_harmless(value):
        return False
    if kind is Kind.RANDOM:
        return is_random(value)
    if not is_direct or kind is Kind.LIKELY:
        return looks_secret(value) if is_direct or kind is not Kind.LIKELY else is_random(value)
    if re.search(r"\s", value):
        return any(
            len(word) > 4 and _re(r"[A-Za-z]").search(word) and _re(r"\d").search(word) for word in value.split()
        )
    return _is_chosen(value) if kind is Kind.CHOSEN else _is_made(value)


def is_given(name: str, value: str) -> bool:
    """Tell whether a value that a person gave to a name, of an option or a setting, is a secret: blanks and all."""
    last = re.split(r"[/.]", name)[-1].strip("-+ ")
    name = "api_token" if last.lower() == "token" else last
    has_blanks = kind_of(name) is Kind.CHOSEN and _re(r"\S\s+\S").search(value) is not None
    return (has_blanks and not is_harmless(value)) or is_secret(name, value)


def looks_secret(value: str) -> bool:
    """Tell whether a value looks like a secret by itself: letters and digits, and no words, path, pattern or template."""
    value = value.strip()
    if len(value) < SHORTEST or _re(r"[\s()\[\]{}<>|\\^*]").search(value) or is_harmless(value):
        return False
    has_both = _re(r"\d").search(value) and _re(r"[A-Za-z]").search(value)
    return bool(has_both and not is_wordish(value)) or is_random(value)


def is_random(value: str) -> bool:
    """Tell whether a value has a part that nobody would have written: long, of letters and digits that change quickly."""
    if _re(r"(?=.*\d)(?=.*[a-f])[0-9a-f]{32,}|[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12}").fullmatch(value):
        return True
    for chunk in re.split(r"[^A-Za-z0-9]+", value):
        if len(chunk) >= 12 and not chunk.isdigit() and not chunk.isalpha():
            if len(chunk) <= 2.7 * len(_pieces(chunk)):
                return True
        elif len(chunk) >= 20 and chunk.isalpha() and len(chunk) <= 2.2 * len(_pieces(chunk)):
            return True
    return False


def is_wordish(value: str) -> bool:
    """Tell whether a value is made of words, each with three digits at most behind it, and of short numbers."""
    return all(_is_word(chunk) for chunk in re.split(r"[-_./:,;@+~ ]+", value))


def is_identifier(value: str) -> bool:
    """Tell whether a value is the name of something: several words by ``_`` and ``.``, or one that speaks of a secret."""
    if _re(r"[A-Z]+\d?(?:_(?:[A-Z]+\d?|\d))+|_*[A-Za-z]+(?:[_.]+[A-Za-z]+)+_*").fullmatch(value):
        return is_wordish(value)
    if value.isalpha() and is_wordish(value):
        pieces = _pieces(value)
        return kind_of(value) is not None or (len(pieces) > 1 and any(kind_of(piece) for piece in pieces))
    return False


def is_harmless(value: str) -> bool:
    """Tell whether a value is plainly no secret: empty, a place holder, a template, an option, a path, an address."""
    if not value or _re("|".join(_PLACEHOLDERS), re.IGNORECASE | re.DOTALL).fullmatch(value):
        return True
    if _re(r"(?:your|my|insert|enter|replace|put|example|dummy|fake|sample|some)[\W_].*", re.I).fullmatch(value):
        return is_wordish(value)
    plain = _re(r"\$?\{[\w.:!\[\]]*\}|%\(\w+\)s|%[sd](?![A-Za-z0-9])").sub("", value)
    if plain != value:
        return not looks_secret(plain)
    return _is_path(value)


def _is_path(value: str) -> bool:
    if _re(rf"[\w./\\ ~-]*\.(?:{_EXTENSION})", re.IGNORECASE).fullmatch(value):
        return not is_random(value)
    begins = _re(r"~?\.{0,2}[/\\]|[A-Za-z]:[/\\]").match(value)
    if begins is None or is_random(value):
        return False
    return begins[0] != "/" or value.count("/") > 1 or value[1:].islower()


def _is_chosen(value: str) -> bool:
    if is_identifier(value):
        return False
    if value.isalpha():
        return len(value) >= _SHORTEST_WORD
    if _re(r"[A-Za-z]+(?:-[A-Za-z]+)+").fullmatch(value):
        return not any(kind_of(word) for word in value.split("-"))
    return len(value) >= _SHORTEST_WORD - 2


def _is_made(value: str) -> bool:
    if len(value) < SHORTEST or is_identifier(value):
        return False
    if value.isalpha():
        return len(value) > 12 or not is_wordish(value)
    is_one = _re(r"\w+", re.ASCII).fullmatch(value) and "_" not in value
    return bool(is_one) or not is_wordish(value)


def _is_word(chunk: str) -> bool:
    if _re(r"(?:\d{1,4}[A-Za-z]{0,2})?").fullmatch(chunk):
        return True
    letters = _re(r"([A-Za-z]+)(?:[1-4][A-Za-z]+)?\d{0,3}").fullmatch(chunk)  # "conv2d", "word2vec"
    if letters is None:
        return False
    pieces = _pieces(letters[1])
    return max(map(len, pieces)) <= 20 and (len(letters[1]) < 4 or len(letters[1]) >= 2.5 * len(pieces))


def _pieces(value: str) -> list[str]:
    return _re(r"[A-Z]?[a-z]+|[A-Z]+|\d+").findall(value)
