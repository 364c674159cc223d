"""SHA-256 of small texts, without loading OpenSSL: ``hashlib`` opens its library, 3 ms of a start, for a few hundred bytes.

Source: FIPS 180-4; docs/format/v1.md, "JSON documents".
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_SMALL_BYTES = 1 << 16  # more of it is worth OpenSSL, which is several times as fast


def _of_the_interpreter() -> Any:
    for module in ("_sha2", "_sha256"):  # its name from Python 3.12 on, and before
        try:
            return import_module(module).sha256
        except (ImportError, AttributeError):
            continue
    return None


_small = _of_the_interpreter()


def hex_sha256(data: bytes) -> str:
    """Return the SHA-256 of ``data`` as 64 hexadecimal digits."""
    if _small is not None and len(data) <= _SMALL_BYTES:
        return str(_small(data).hexdigest())
    import hashlib

    return hashlib.sha256(data).hexdigest()
