"""Mask secrets in what a run records: its arguments, its uncommitted changes, its script, its chosen environment.

Two rules. A text with the shape of a known credential (an access key of a cloud, a token of a hub, a private key, a
password in a URL) is masked wherever it stands. A text that is given to a telling name (``api_key = "..."``,
``--password ...``) is masked unless it is plainly no secret: a path, a place holder, a name, for keys and tokens a word.
Of code, literals and comments alone are masked, so that it stays the same program.

Source: docs/explanation/runs.md, "Secrets".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

MASK = "********"

#: In lower case: without one of these a text has no secret. Most arguments have none, and need no pattern.
_HINTS = (
    "akia", "asia", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "hub_pat_", "glpat", "gldt-", "glrt-", "glft-", "atatt", "hf_",
    "r8_", "nvapi", "gsk_", "xai-", "pplx-", "sk-", "wandb_v1", "kgat_", "xox", "xapp-", "://", "aiza", "ya29.", "gocspx-",
    "_live_", "_test_", "whsec_", "sq0csp", "eyj", "pypi-", "npm_", "rubygems_", "dckr_", "_v1_", "sg.", "sk0", "sk1", "sk2",
    "sk3", "sk4", "sk5", "sk6", "sk7", "sk8", "sk9", "ska", "skb", "skc", "skd", "ske", "skf", "dapi", "hvs.", ":aa", "shpat_",
    "shpss_", "shpca_", "shppa_", "glc_", "glsa_", "lin_api_", "figd_", "figu_", "pmak-", "ntn_", "sntry", "pul-", "secret",
    "key", "token", "pass", "pwd", "credential", "sig", "bearer ", "basic ", "auth", "lsv2", "tskey", "begin", "login",
)  # fmt: skip


def masked_text(text: str) -> str:
    """Return a text without the secrets in it: settings, a command, prose. Of Python: ``masked_script``."""
    if not may_have_secret(text):
        return text
    from localtrack.capture.secret_texts import mask_text

    return mask_text(text)


def may_have_secret(text: str) -> bool:
    """Tell whether a text is worth a look by the patterns; most are not."""
    lower = text.lower()
    return any(hint in lower for hint in _HINTS)


def masked_argument(name: str, value: Any) -> Any:
    """Return the value of an argument without its secrets, also those in lists and dicts; its type stays where it has none.

    Args:
        name: the argument's; its last part by ``/`` and ``.`` tells what it holds.
        value: native.
    """
    if isinstance(value, str):
        return MASK if value and may_have_secret(name) and _is_given(name, value) else masked_text(value)
    if isinstance(value, dict):
        return {key: masked_argument(str(key), item) for key, item in value.items()}
    if type(value) in (list, tuple):
        is_pair = len(value) == 2
        befores = ("", *value)[: len(value)]
        return type(value)(
            _after(before, item, is_direct=is_pair)
            if isinstance(item, str) and _may_tell(before)
            else masked_argument(name, item)
            for before, item in zip(befores, value, strict=True)
        )
    return value


def masked_settings(value: Any) -> Any:
    """Return settings without their secrets, which their keys tell at any depth.

    Args:
        value: a dict or list as native values, or the text of a YAML, JSON or TOML document, whose layout stays and which
            can be read as before: a masked plain value of YAML stands in quotes.
    """
    return masked_text(value) if isinstance(value, str) else masked_argument("", value)


def masked_argv(argv: Sequence[str]) -> list[str]:
    """Return a command line without its secrets: ``--password x``, ``--password=x``, ``api_key x`` and what looks like one."""
    result: list[str] = []
    option = before = ""
    for word in argv:
        name, equals, value = word.partition("=")
        if equals and (name.startswith("-") or may_have_secret(name)):
            masked = masked_argument(name.lstrip("-+"), value)
            result.append(word if masked == value else f"{name}={masked}")
        elif not option and _may_tell(before) and not word.startswith("-"):
            result.append(_after(before, word))
        else:
            result.append(masked_argument(option, word))
            if option.endswith("s") and _may_tell(option) and not word.startswith("-"):
                continue  # it takes several
        option = word.lstrip("-") if word.startswith("-") and not equals else ""
        before = "" if equals or word.startswith("-") else word
    return result


def hidden_argv(argv: Sequence[str], options: Collection[str]) -> list[str]:
    """Return a command line without what some options are given: ``--pin x``, ``--pin=x``, ``-p x`` and ``-px``.

    Args:
        argv: the words.
        options: those whose value is typed unseen, with their dashes.
    """
    result: list[str] = []
    for place, word in enumerate(argv):
        name, equals, _ = word.partition("=")
        if place and argv[place - 1] in options:
            result.append(MASK)
        elif equals and name in options:
            result.append(f"{name}={MASK}")
        elif len(word) > 2 and not word.startswith("--") and word[:2] in options:
            result.append(word[:2] + MASK)
        else:
            result.append(word)
    return result


def without_masked(argv: Sequence[str]) -> tuple[str, ...]:
    """Return a recorded command line without the options whose value was masked: the script finds its own.

    Of ``--opts lr 1 api_key ********`` the last two words go.
    """
    result: list[str] = []
    for word in argv:
        if MASK not in word:
            result.append(word)
            continue
        if word == MASK and result and not result[-1].startswith("-") and _may_tell(result[-1]):
            result.pop()
        if not word.startswith("-") and result and result[-1].startswith("-") and "=" not in result[-1]:
            result.pop()
    return tuple(result)


def is_masked(value: Any) -> bool:
    """Tell whether something of a recorded value was masked, so that it is not to be fed back."""
    if isinstance(value, dict):
        return any(is_masked(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(is_masked(item) for item in value)
    return isinstance(value, str) and MASK in value


def masked_script(script: bytes) -> bytes:
    """Return Python source, also a notebook's cell, without the secrets in it; it stays the same program but for these."""
    text, encoding = _decoded(script)
    if not may_have_secret(text):
        return script
    if re.match(r"\s*%%(?!time|capture|prun|memit|mprun)\w", text):
        return masked_text(text).encode(encoding)
    from localtrack.capture.python_secrets import mask_python

    return mask_python(text, with_magics=True).encode(encoding)


def masked_diff(diff: bytes) -> bytes:
    """Return a patch without the secrets that it adds. It still applies: no other line is touched.

    What a line takes away or has around it is in the commit itself, so that masking it hides nothing.
    """
    if not may_have_secret(diff.decode("latin-1")):
        return diff
    from localtrack.capture.patch_secrets import mask_patch

    return mask_patch(diff)


def is_telling(name: str) -> bool:
    """Tell whether a name says that its value is a secret."""
    if not may_have_secret(name):
        return False
    from localtrack.capture import secret_looks

    return secret_looks.is_telling(name)


def _decoded(data: bytes) -> tuple[str, str]:
    try:
        return data.decode(), "utf-8"
    except UnicodeDecodeError:
        return data.decode("latin-1"), "latin-1"


def _is_given(name: str, value: str) -> bool:
    from localtrack.capture.secret_looks import is_given

    return is_given(name, value)


def _may_tell(word: Any) -> bool:
    """Tell whether a word among others is the name of a secret, which the next one may be."""
    return isinstance(word, str) and len(word) < 64 and re.fullmatch(r"[\w./-]+", word) is not None and is_telling(word)


def _after(name: str, value: str, *, is_direct: bool = False) -> str:
    from localtrack.capture.secret_looks import is_secret

    return MASK if is_secret(name, value, is_direct=is_direct) else masked_text(value)
