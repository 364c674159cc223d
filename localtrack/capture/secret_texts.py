"""Find secrets in any text: credentials of a known shape, those within addresses and headers, and what a telling name is given.

Source: the credential formats that their issuers publish.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from functools import cache

from localtrack.capture.secret_looks import Kind, is_harmless, is_random, is_secret, is_wordish, kind_of, looks_secret
from localtrack.capture.secrets import MASK, may_have_secret
from localtrack.records.plain import dataclass

_NAME_LIMIT = 80
_KEY_LINES = 400  # a private key of more lines is none

_SHAPES = (
    r"(?:AKIA|ASIA)[0-9A-Z]{16}(?![0-9A-Za-z])",  # AWS
    r"gh[opsur]_[A-Za-z0-9]{30,}", r"github_pat_\w{22,}", r"gl(?:pat|dt|rt|ft)-[\w-]{20,}", r"ATATT[\w=-]{20,}",
    r"hf_[A-Za-z0-9]{30,}", r"r8_[A-Za-z0-9]{30,}", r"nvapi-[\w-]{30,}", r"gsk_[A-Za-z0-9]{30,}", r"xai-[A-Za-z0-9]{30,}",
    r"pplx-[A-Za-z0-9]{30,}", r"wandb_v1_\w{20,}", r"KGAT_[A-Za-z0-9]{20,}",
    r"sk-(?:proj|ant|svcacct|admin|or-v\d|lf|None)-(?=[\w-]{0,200}\d)[\w-]{20,}", r"sk-(?=[A-Za-z]*\d)[A-Za-z0-9]{20,}(?![\w-])",
    r"xox[abeoprs]-[\w-]{10,}", r"xapp-[\w-]{10,}",
    r"https://hooks\.slack\.com/services/[\w/]{20,}", r"https://discord(?:app)?\.com/api/webhooks/\d+/[\w-]{20,}",
    r"AIza[\w-]{35}", r"ya29\.[\w-]{20,}", r"GOCSPX-[\w-]{20,}",  # Google
    r"(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,}", r"whsec_[A-Za-z0-9+/=]{20,}", r"sq0csp-[\w-]{30,}",
    r"eyJ[\w-]{10,500}\.eyJ[\w-]{10,}\.[\w-]*",  # JSON web tokens
    r"pypi-[\w-]{40,}", r"npm_[A-Za-z0-9]{30,}", r"rubygems_[0-9a-f]{40,}", r"dckr_(?:pat|oat)_[\w-]{20,}",
    r"do[opr]_v1_[0-9a-f]{40,}", r"SG\.[\w-]{16,}\.[\w-]{16,}", r"\bSK[0-9a-f]{32}\b", r"\bkey-[0-9a-f]{32}\b",
    r"\bdapi[0-9a-f]{32}(?:-\d+)?\b", r"\bhvs\.[\w-]{20,}", r"\b\d{8,10}:AA[\w-]{33}", r"shp(?:at|ss|ca|pa)_[0-9a-fA-F]{32}",
    r"gl(?:c|sa)_[A-Za-z0-9+/=_]{30,}", r"lin_api_[A-Za-z0-9]{30,}", r"fig[du]_[\w-]{30,}", r"PMAK-[0-9a-f]{20,}-[0-9a-f]{30,}",
    r"ntn_[A-Za-z0-9]{30,}", r"sntry[su]_[\w=+/-]{30,}", r"AGE-SECRET-KEY-1[0-9A-Z]{50,}", r"pul-[0-9a-f]{40}",
    r"lsv2_(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}", r"tskey-[a-z]+-[A-Za-z0-9]{10,}-[A-Za-z0-9]{10,}",
)  # fmt: skip
_WORD = r"(?:pass(?:word|wd|phrase|code)?|pwd|secret|credential|token|key|auth)s?"
_QUERY = r"token|access_token|private_token|auth|api_?key|key|sig|signature|password|secret|x-amz-signature|x-amz-security-token"


@dataclass(frozen=True, slots=True)
class _Patterns:
    """What takes milliseconds to compile, and is needed by few runs.

    Attributes:
        shape: known credentials, wherever they stand.
        parts: the ``value`` within an address, a header, a connection string, and what tells whether it is a secret.
        quoted: the ``value`` in quotes, and the end of the name that it is given to.
        setting: the plain ``value`` of a key of YAML.
        line: the ``value`` that is the rest of a line of settings.
        near: the plain ``value`` behind a name within a line.
        begins: first line of a private key.
        ends: its last line.
    """

    shape: re.Pattern[str]
    parts: tuple[tuple[re.Pattern[str], Callable[[str], bool]], ...]
    quoted: re.Pattern[str]
    setting: re.Pattern[str]
    line: re.Pattern[str]
    near: re.Pattern[str]
    begins: re.Pattern[str]
    ends: re.Pattern[str]


@cache
def _patterns() -> _Patterns:
    key = r"PRIVATE KEY(?: BLOCK)?-----"
    value = r"(?P<value>[^\s\"'`,;&(){}\[\]<>|\\#]"
    return _Patterns(
        shape=re.compile(r"(?:(?<![A-Za-z0-9_])|(?<=\\[nrt]))(?:" + "|".join(_SHAPES) + ")"),
        parts=_parts(),
        quoted=re.compile(
            rf"(?P<before>{_WORD}(?P<mid>\\?[\"']?\]?\s{{0,20}}(?:(?::[ \t]{{0,20}}[\w.\[\] |]{{1,40}})?"
            rf"=>?|:|,)\s{{0,20}}\(?)(?:[rbfu]{{1,2}})?"
            rf"(?:(?P<quote>\\?[\"'])|(?<=[=(\s])(?:'{{3}}|\"{{3}})))(?P<value>[^\"'\\\n]{{4,}})(?=(?P=quote)|[\"']{{3}})",
            re.IGNORECASE,
        ),
        setting=re.compile(
            rf"(?P<before>(?:^|(?<=[\s{{,]))(?P<open>[\"']?)[\w.-]{{0,{_NAME_LIMIT}}}{_WORD}"
            rf"(?P=open)[ \t]{{0,20}}:[ \t]{{1,20}})"
            rf"(?P<value>[^\s\"'#,{{}}\[\]|>&*!][^\n\"'#,{{}}\]\\]{{0,300}}?)(?=[ \t\r]{{0,20}}(?:$|[,}}\]]|\s#))",
            re.IGNORECASE | re.MULTILINE,
        ),
        line=re.compile(
            rf"(?P<before>^[+#%! \t]*(?:(?:export|set|env|arg|-e|-)[ \t]+)*[\w.-]{{0,{_NAME_LIMIT}}}{_WORD}"
            rf"[ \t]{{0,20}}[=:]?[ \t]{{0,20}}(?<=[=: \t])){value}+)(?=[ \t\r]{{0,20}}(?:$|\s#))",
            re.IGNORECASE | re.MULTILINE,
        ),
        near=re.compile(
            rf"(?P<before>{_WORD}(?P<mid>\\?[\"']?(?:[ \t]{{0,20}}[=:][ \t]{{0,20}}|[ \t]{{1,20}}))){value}{{{4},}})",
            re.IGNORECASE,
        ),
        begins=re.compile(r"-----BEGIN [A-Z ]*" + key),
        ends=re.compile(r"-----END [A-Z ]*" + key),
    )


def _parts() -> tuple[tuple[re.Pattern[str], Callable[[str], bool]], ...]:
    return (
        (
            re.compile(
                r"(?P<before>(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]{0,20}://[^\s/:@\"']*:)"
                r"(?P<value>[^\s/@\"'\\{}]+)(?=@)"
            ),
            _is_password,
        ),
        (re.compile(r"(?P<before>https?://)(?P<value>[^\s/:@\"'.\\{}]{16,})(?=@)"), _is_password),
        (
            re.compile(rf"(?P<before>[?&](?:{_QUERY})=)(?P<value>[^&\s\"'#\\{{}}<>]{{8,}})", re.IGNORECASE),
            looks_secret,
        ),
        (
            re.compile(r"(?P<before>\b(?:AccountKey|SharedAccessKey|SharedSecret)=)(?P<value>[A-Za-z0-9+/=]{20,})"),
            looks_secret,
        ),
        (re.compile(r"(?P<before>\b(?:Bearer|Token)\s+)(?P<value>[A-Za-z0-9+/._=-]{16,})"), _is_bearer),
        (re.compile(r"(?P<before>\bBasic\s+)(?P<value>[A-Za-z0-9+/]{8,}={0,2})"), _is_basic),
        (
            re.compile(r"(?P<before>(?:\s-u|\s--user)[ =][\"']?[^\s:\"']{1,60}:)(?P<value>[^\s\"'\\{}@:]+)"),
            _is_password,
        ),
    )


def mask_text(text: str) -> str:
    """Return settings, a command or prose without the secrets in it. A plain value of YAML becomes a quoted mask."""
    patterns = _patterns()
    text = _mask_parts(text)
    text = patterns.quoted.sub(_quoted, text)
    text = patterns.setting.sub(lambda found: _given(found, f'"{MASK}"'), text)
    text = patterns.line.sub(_given, text)
    text = patterns.near.sub(_near, text)
    return mask_keys(text) if patterns.begins.search(text) else text


def mask_code(text: str) -> str:
    """Return code of a language that is not parsed without the secrets in it: a bare word is none."""
    text = _patterns().quoted.sub(_quoted, _mask_parts(text))
    return mask_keys(text) if _patterns().begins.search(text) else text


def mask_content(text: str) -> str:
    """Return what stands within a literal without the secrets in it: it has the same lines, escapes and quotes as before."""
    if len(text) < 8 or not may_have_secret(text):
        return text
    patterns = _patterns()
    text = _mask_parts(text)
    text = patterns.quoted.sub(_quoted, text)
    return patterns.near.sub(_near, text)


def mask_shapes(text: str) -> str:
    """Return what is neither literal nor comment in broken code without what no identifier can be: random, or in an address."""
    if len(text) < 16 or not may_have_secret(text):
        return text
    patterns = _patterns()
    text = patterns.shape.sub(lambda found: MASK if is_random(found[0]) else found[0], text)
    for pattern, is_value in patterns.parts:
        text = pattern.sub(
            lambda found, is_value=is_value: _masked(  # type: ignore[misc]
                found, ("://" in found["before"] or is_random(found["value"])) and is_value(found["value"])
            ),
            text,
        )
    return text


def mask_keys(text: str) -> str:
    """Return a text without the lines of private keys, which are masked one by one: their number stays."""
    patterns = _patterns()
    lines = text.split("\n")
    last = len(lines)
    ends_at = [last] * (last + 1)
    for number in range(last - 1, -1, -1):
        ends_at[number] = number if patterns.ends.search(lines[number]) else ends_at[number + 1]
    number = 0
    while number < last:
        begins = patterns.begins.search(lines[number])
        if begins is None:
            number += 1
            continue
        stop = ends_at[number]
        lines[number] = _mask_in_line(lines[number], begins.end())
        is_whole = stop < last and stop - number <= _KEY_LINES
        number += 1
        while number < last and (number < stop if is_whole else is_key_material(lines[number])):
            lines[number] = MASK if lines[number].strip() else lines[number]
            number += 1
    return "\n".join(lines)


def has_key(text: str) -> bool:
    """Tell whether a private key begins in a text and does not end there."""
    found = list(_patterns().begins.finditer(text))
    return bool(found) and _patterns().ends.search(text, found[-1].end()) is None


def ends_key(text: str) -> bool:
    """Tell whether a private key ends in a text."""
    return _patterns().ends.search(text) is not None


def is_key_material(text: str) -> bool:
    """Tell whether a text is a line of a private key."""
    return re.fullmatch(r"[\s+\"',#b]*[A-Za-z0-9+/=]{16,}(?:\\[nr])*[\s\"',+)\\]*", text) is not None


def _mask_in_line(line: str, start: int) -> str:
    found = _patterns().ends.search(line, start)
    stop = found.start() if found else len(line)
    inner = line[start:stop]
    if not inner.strip("\\nr\"' \r,)") or (found is None and not re.search(r"[A-Za-z0-9+/]{16}", inner)):
        return line
    tail = "" if found else (re.search(r"[\\\"'\s,)]*$", inner) or [""])[0]
    return f"{line[:start]}{MASK}{tail}{line[stop:]}"


def _mask_parts(text: str) -> str:
    patterns = _patterns()
    text = patterns.shape.sub(_shape, text)
    for pattern, is_value in patterns.parts:
        text = pattern.sub(lambda found, is_value=is_value: _masked(found, is_value(found["value"])), text)  # type: ignore[misc]
    return text


def _masked(found: re.Match[str], is_value: bool, mask: str = MASK) -> str:
    return f"{found['before']}{mask}" if is_value else found[0]


def _shape(found: re.Match[str]) -> str:
    text = found[0]
    is_name = (
        not text.startswith(("sk", "tskey"))
        and len(re.findall("[-_.]", text)) > 1
        and "://" not in text
        and is_wordish(text)
    )
    return text if is_name else MASK


def _quoted(found: re.Match[str]) -> str:
    return _masked(found, is_secret(_name(found), found["value"], is_direct="," not in found["mid"]))


def _given(found: re.Match[str], mask: str = MASK) -> str:
    name = found["before"].strip().rstrip(":= \t\"'").split()[-1].lstrip("{,\"'")
    is_spaced = found["before"][-1] in " \t" and not re.search(r"[=:]\s*$", found["before"])
    if is_spaced and not re.match(r"[+\s]*(?:env|arg)\s", found["before"], re.IGNORECASE):
        return found[0]
    value = found["value"]
    is_annotation = "[" in value and found.string.startswith("]", found.end())
    return _masked(found, not is_annotation and is_secret(_as_token(name), value), mask)


def _near(found: re.Match[str]) -> str:
    name = _name(found)
    if found["mid"].isspace() and not name.startswith("-"):
        return found[0]
    kind = kind_of(_as_token(name))
    is_value = looks_secret(found["value"]) if kind not in (None, Kind.RANDOM) else is_secret(name, found["value"])
    return _masked(found, is_value)


def _as_token(name: str) -> str:
    """Return ``api_token`` for a plain ``token``: as the key of a setting it tells enough."""
    return "api_token" if name.lower() == "token" else name


def _name(found: re.Match[str]) -> str:
    start = found.start()
    head = found.string[max(0, start - _NAME_LIMIT) : start]
    before = re.search(r"[\w.-]*\Z", head)
    name = before[0] if before else ""
    if head[: len(head) - len(name)].endswith("\\") and name[:1] in ("n", "r", "t"):  # of a line end that is written so
        name = name[1:]
    return name + found["before"][: len(found["before"]) - len(_rest(found))]


def _rest(found: re.Match[str]) -> str:
    return found["before"][found.start("mid") - found.start("before") :]


def _is_password(value: str) -> bool:
    return kind_of(value) is None and not is_harmless(value)


def _is_bearer(value: str) -> bool:
    return not is_wordish(value) and not is_harmless(value)


def _is_basic(value: str) -> bool:
    try:
        return b":" in base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return False
