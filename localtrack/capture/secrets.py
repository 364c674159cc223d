"""Mask secrets in what a run records: its arguments, its uncommitted changes, its script, its chosen environment.

Two rules. A text with the shape of a known credential (an access key of a cloud, a token of a hub, a private key, a
password in a URL) is masked wherever it stands. A text that is given to a telling name (``api_key = "..."``,
``--password ...``) is masked whatever it looks like, unless it is plainly no secret: a path, a place holder, a short word.

Source: the credential formats that their issuers publish; docs/explanation/runs.md, "Secrets".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import cache
from typing import Any

from localtrack.records.plain import dataclass

MASK = "********"
SHORTEST = 8  # a shorter value of a telling name is a word ("EMPTY", "none")

_SHAPES = (
    r"(?:AKIA|ASIA)[0-9A-Z]{16}",  # AWS
    r"gh[opsur]_[A-Za-z0-9]{30,}", r"github_pat_\w{22,}", r"gl(?:pat|dt|rt|ft)-[\w-]{20,}", r"ATATT[\w=-]{20,}",
    r"hf_[A-Za-z0-9]{30,}", r"r8_[A-Za-z0-9]{30,}", r"nvapi-[\w-]{30,}", r"gsk_[A-Za-z0-9]{30,}", r"xai-[A-Za-z0-9]{30,}",
    r"pplx-[A-Za-z0-9]{30,}", r"sk-[A-Za-z0-9_-]{20,}", r"wandb_v1_\w{20,}", r"KGAT_[A-Za-z0-9]{20,}",
    r"xox[abeoprs]-[\w-]{10,}", r"xapp-[\w-]{10,}",
    r"https://hooks\.slack\.com/services/[\w/]{20,}", r"https://discord(?:app)?\.com/api/webhooks/\d+/[\w-]{20,}",
    r"AIza[\w-]{35}", r"ya29\.[\w-]{20,}", r"GOCSPX-[\w-]{20,}",  # Google
    r"(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,}", r"whsec_[A-Za-z0-9+/=]{20,}", r"sq0csp-[\w-]{30,}",
    r"eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]*",  # JSON web tokens
    r"pypi-[\w-]{40,}", r"npm_[A-Za-z0-9]{30,}", r"rubygems_[0-9a-f]{40,}", r"dckr_(?:pat|oat)_[\w-]{20,}",
    r"do[opr]_v1_[0-9a-f]{40,}", r"SG\.[\w-]{16,}\.[\w-]{16,}", r"\bSK[0-9a-f]{32}\b", r"\bkey-[0-9a-f]{32}\b",
    r"\bdapi[0-9a-f]{32}(?:-\d+)?\b", r"\bhvs\.[\w-]{20,}", r"\b\d{8,10}:AA[\w-]{33}", r"shp(?:at|ss|ca|pa)_[0-9a-fA-F]{32}",
    r"gl(?:c|sa)_[A-Za-z0-9+/=_]{30,}", r"lin_api_[A-Za-z0-9]{30,}", r"fig[du]_[\w-]{30,}", r"PMAK-[0-9a-f]{20,}-[0-9a-f]{30,}",
    r"ntn_[A-Za-z0-9]{30,}", r"sntry[su]_[\w=+/-]{30,}", r"AGE-SECRET-KEY-1[0-9A-Z]{50,}", r"pul-[0-9a-f]{40}",
)  # fmt: skip
_NAME = (
    r"(?:password|passwd|passphrase|passcode|secret|credentials?|api[_-]?key|access[_-]?key|private[_-]?key|secret[_-]?key"
    r"|account[_-]?key|encryption[_-]?key|(?:auth|access|api|refresh|bearer|bot|hub|hf|session|id|secret|github|gitlab|wandb)"
    r"[_-]?token)"
)
#: In lower case: without one of these a text has no secret. Most arguments have none, and need no pattern.
_HINTS = (
    "akia", "asia", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "hub_pat_", "glpat", "gldt-", "glrt-", "glft-", "atatt", "hf_",
    "r8_", "nvapi", "gsk_", "xai-", "pplx-", "sk-", "wandb_v1", "kgat_", "xox", "xapp-", "://", "aiza", "ya29.", "gocspx-",
    "_live_", "_test_", "whsec_", "sq0csp", "eyj", "pypi-", "npm_", "rubygems_", "dckr_", "_v1_", "sg.", "sk0", "sk1", "sk2",
    "sk3", "sk4", "sk5", "sk6", "sk7", "sk8", "sk9", "ska", "skb", "skc", "skd", "ske", "skf", "dapi", "hvs.", ":aa", "shpat_",
    "shpss_", "shpca_", "shppa_", "glc_", "glsa_", "lin_api_", "figd_", "figu_", "pmak-", "ntn_", "sntry", "pul-", "secret",
    "key", "token", "pass", "pwd", "credential", "sig", "bearer ", "basic ",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Patterns:
    """What takes milliseconds to compile, and is needed by few runs.

    Attributes:
        shape: known credentials, wherever they stand.
        parts: the ``value`` within an address, a header, a connection string.
        given: the ``value`` that is given to a telling name, in quotes or as the rest of a line.
        setting: the plain ``value`` of a telling key of YAML.
        telling: a telling name.
        begins: first line of a private key.
        ends: its last line.
        harmless: what a value has that is no secret: a place holder, a path, an address, several words.
    """

    shape: re.Pattern[str]
    parts: tuple[re.Pattern[str], ...]
    given: tuple[re.Pattern[str], ...]
    setting: re.Pattern[str]
    telling: re.Pattern[str]
    begins: re.Pattern[str]
    ends: re.Pattern[str]
    harmless: re.Pattern[str]


@cache
def _patterns() -> _Patterns:
    key = r"PRIVATE KEY(?: BLOCK)?-----"
    return _Patterns(
        shape=re.compile(r"(?<![A-Za-z0-9_])(?:" + "|".join(_SHAPES) + ")"),
        parts=(
            re.compile(r"(?P<before>[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@\"']*:)(?P<value>[^\s/@\"']+)(?=@)"),
            re.compile(r"(?P<before>https?://)(?P<value>[^\s/:@\"'.]{16,})(?=@)"),
            re.compile(
                r"(?P<before>[?&](?:token|access_token|private_token|api_?key|key|sig|signature|password|secret"
                r"|x-amz-signature|x-amz-security-token)=)(?P<value>[^&\s\"'#]{8,})",
                re.IGNORECASE,
            ),
            re.compile(r"(?P<before>\b(?:AccountKey|SharedAccessKey|SharedSecret)=)(?P<value>[A-Za-z0-9+/=]{20,})"),
            re.compile(r"(?P<before>\b(?:Bearer|Basic|Token)\s+)(?P<value>[A-Za-z0-9+/._=-]{16,})"),
        ),
        given=(
            re.compile(
                rf"(?P<before>\b[\w.-]*{_NAME}[\"']?\]?\s*(?:=|:|,|=>)\s*[rbfu]?(?P<quote>[\"']))"
                rf"(?P<value>[^\"'\n]{{{SHORTEST},}})(?=(?P=quote))",
                re.IGNORECASE,
            ),
            re.compile(
                rf"(?P<before>^[+\s]*(?:export\s+|set\s+|-\s+)?[\w.-]*{_NAME}\s*[=:]\s*)"
                rf"(?P<value>[^\s\"'#(),\[\]{{}}]{{{SHORTEST},}})(?=\s*$)",
                re.IGNORECASE | re.MULTILINE,
            ),
        ),
        setting=re.compile(
            rf"(?P<before>(?:^|[\s{{,])[\"']?(?:[\w.-]*{_NAME}|token|pwd)[\"']?[ \t]*:[ \t]+)(?P<value>[^\s\"'#,{{}}\[\]|>&*!]"
            rf"[^\n#,}}\]]*?)(?=[ \t]*(?:$|[,}}\]]|\s#))",
            re.IGNORECASE | re.MULTILINE,
        ),
        telling=re.compile(rf"(?:^|[^A-Za-z]|(?<=[a-z])(?=[A-Z])){_NAME}$|^(?:pwd|token)$", re.IGNORECASE),
        begins=re.compile(r"-----BEGIN [A-Z ]*" + key),
        ends=re.compile(r"-----END [A-Z ]*" + key),
        harmless=re.compile(r"[{}<>$%*]|\.\.\.|^[~./\\]|://|\s"),
    )


def masked_text(text: str) -> str:
    """Return a text without the secrets in it; code, settings, or anything else."""
    if not _may_have_secret(text):
        return text
    patterns = _patterns()
    text = patterns.shape.sub(MASK, text)
    for pattern in (*patterns.parts, *patterns.given):
        text = pattern.sub(_with_mask, text)
    return _without_keys(text) if patterns.begins.search(text) else text


def _may_have_secret(text: str) -> bool:
    lower = text.lower()
    return any(hint in lower for hint in _HINTS)


def masked_argument(name: str, value: Any) -> Any:
    """Return the value of an argument without its secrets, also those in lists and dicts; its type stays where it has none.

    Args:
        name: the argument's; its last part by ``/`` and ``.`` tells what it holds.
        value: native.
    """
    if isinstance(value, str):
        return MASK if value and is_telling(name) and not _is_harmless(value) else masked_text(value)
    if isinstance(value, dict):
        return {key: masked_argument(str(key), item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(masked_argument(name, item) for item in value)
    return value


def masked_settings(value: Any) -> Any:
    """Return settings without their secrets, which their keys tell at any depth.

    Args:
        value: a dict or list as native values, or the text of a YAML, JSON or TOML document, whose layout stays and which
            can be read as before: a masked plain value of YAML stands in quotes.
    """
    if not isinstance(value, str):
        return masked_argument("", value)
    if not _may_have_secret(value):
        return value
    return masked_text(_patterns().setting.sub(_with_quoted_mask, value))


def masked_argv(argv: Sequence[str]) -> list[str]:
    """Return a command line without its secrets: ``--password x``, ``--password=x``, and what looks like one."""
    result: list[str] = []
    option = ""
    for word in argv:
        name, equals, value = word.partition("=")
        if equals and name.startswith("-"):
            result.append(f"{name}={masked_argument(name.lstrip('-'), value)}")
        else:
            result.append(masked_argument(option, word))
        option = word.lstrip("-") if word.startswith("-") and not equals else ""
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
    """Return a recorded command line without the options whose value was masked: the script finds its own."""
    result: list[str] = []
    for word in argv:
        if MASK not in word:
            result.append(word)
        elif not word.startswith("-") and result and result[-1].startswith("-") and "=" not in result[-1]:
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
    """Return a script without the secrets in it; every other byte stays."""
    return masked_text(script.decode("latin-1")).encode("latin-1")


def masked_diff(diff: bytes) -> bytes:
    """Return a patch without the secrets that it adds. It still applies: no other line is touched.

    What a line takes away or has around it is in the commit itself, so that masking it hides nothing.
    """
    lines = diff.decode("latin-1").split("\n")
    added = [number for number, line in enumerate(lines) if line.startswith("+") and not _is_header(lines, number)]
    texts = "\n".join(lines[number][1:] for number in added)
    changed = masked_text(texts)
    if changed == texts:
        return diff
    for number, line in zip(added, changed.split("\n"), strict=True):
        lines[number] = "+" + line
    return "\n".join(lines).encode("latin-1")


def is_telling(name: str) -> bool:
    """Tell whether a name says that its value is a secret."""
    return _may_have_secret(name) and _patterns().telling.search(re.split(r"[/.]", name)[-1]) is not None


def _is_header(lines: list[str], number: int) -> bool:
    return lines[number].startswith("+++ ") and number > 0 and lines[number - 1].startswith("--- ")


def _is_harmless(value: str) -> bool:
    return len(value) < SHORTEST or _patterns().harmless.search(value) is not None


def _with_mask(found: re.Match[str]) -> str:
    return found[0] if _patterns().harmless.search(found["value"]) else f"{found['before']}{MASK}"


def _with_quoted_mask(found: re.Match[str]) -> str:
    return found[0] if _is_harmless(found["value"]) else f'{found["before"]}"{MASK}"'


def _without_keys(text: str) -> str:
    """Mask the lines of private keys, one by one: their number stays."""
    patterns = _patterns()
    lines = text.split("\n")
    inside = False
    for number, line in enumerate(lines):
        begins, ends = patterns.begins.search(line), patterns.ends.search(line)
        if begins:
            inside = True
            lines[number] = line[: begins.end()] + (
                MASK if line[begins.end() :].strip("\\n\"' ") else line[begins.end() :]
            )
            if ends:
                lines[number] = line[: begins.end()] + MASK + line[ends.start() :]
        elif inside and not ends:
            lines[number] = MASK
        if ends:
            inside = False
    return "\n".join(lines)
