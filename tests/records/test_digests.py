"""The two ways to a SHA-256 give the same."""

from __future__ import annotations

import hashlib

import pytest

from localtrack.records import digests
from localtrack.records.digests import hex_sha256


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 1 << 16, (1 << 16) + 1, 1 << 20])
@pytest.mark.parametrize("has_own", [True, False])
def test_it_is_the_sha_256(monkeypatch: pytest.MonkeyPatch, size: int, has_own: bool) -> None:
    """Of any size, with an interpreter that has its own and with one that has none."""
    if not has_own:
        monkeypatch.setattr(digests, "_small", None)
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert hex_sha256(data) == hashlib.sha256(data).hexdigest()
