"""JSON documents of the store: sorted, checksummed, refused when they are not what they promise.

Source: docs/format/v1.md, "JSON documents".
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from localtrack.errors import CorruptFileError
from localtrack.fs.disk import read_bytes
from localtrack.records.digests import hex_sha256

DOCUMENT_LIMIT_BYTES = 256 << 20


def now() -> str:
    """Return the time in UTC, to the microsecond, as the store writes it."""
    return stamp(time.time())


def stamp(seconds: float) -> str:
    """Return a time in seconds since 1970 as the store writes it."""
    whole, rest = divmod(seconds, 1.0)
    carried, microseconds = divmod(round(rest * 1e6), 1_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole + carried))}.{microseconds:06d}Z"


def seconds(text: str) -> float:
    """Return a stored time in seconds since 1970; 0.0 for an empty or foreign text."""
    from datetime import datetime

    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0.0


def canonical(body: Any) -> bytes:
    """Return the one spelling of a document: sorted keys, no blanks, UTF-8."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode(
        "utf-8", "surrogatepass"
    )


def sealed(schema: str, body: dict[str, Any]) -> bytes:
    """Return a document with its schema first and the checksum of all the rest last."""
    content = canonical({**body, "schema": schema})
    digest = hex_sha256(content)
    head = canonical({"schema": schema})[:-1]
    rest = canonical(body)[1:-1]
    return head + (b"," + rest if rest else b"") + b',"sha256":"' + digest.encode() + b'"}\n'


def open_sealed(path: Path, family: str) -> dict[str, Any]:
    """Read a sealed document and check it.

    Args:
        path: the file.
        family: what its schema must start with, such as ``localtrack/task/``.

    Raises:
        OSError: it can't be read.
        CorruptFileError: it is torn, altered, or of another family.
    """
    return parse_sealed(read_bytes(path, DOCUMENT_LIMIT_BYTES), family, str(path))


def parse_sealed(data: bytes, family: str, origin: str) -> dict[str, Any]:
    """Check and return a sealed document's content, without its checksum.

    Raises:
        CorruptFileError: it is torn, altered, or of another family; names ``origin``.
    """
    try:
        body = json.loads(data.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        raise CorruptFileError(
            f"{origin} is no whole JSON document ({len(data)} bytes); an older generation is used where there is one, "
            "`localtrack index check` lists such files",
            path=origin,
        ) from None
    if not isinstance(body, dict) or not str(body.get("schema", "")).startswith(family):
        raise CorruptFileError(
            f"{origin} is no {family}document; `localtrack index check` lists such files", path=origin
        )
    digest = body.pop("sha256", None)
    try:
        actual = hex_sha256(canonical(body))
    except (ValueError, RecursionError):
        actual = ""
    if digest != actual:
        raise CorruptFileError(
            f"{origin} does not match its checksum: it was altered or torn; `localtrack index check` lists such files",
            path=origin,
        )
    return body
