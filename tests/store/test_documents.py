"""Sealed JSON documents."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localtrack.errors import CorruptFileError
from localtrack.store.documents import canonical, now, open_sealed, parse_sealed, sealed, seconds, stamp

FAMILY = "localtrack/thing/"
SCHEMA = "localtrack/thing/1"
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def test_the_spelling_of_a_document() -> None:
    """Schema first, sorted keys, no blanks, UTF-8, checksum last, one line."""
    data = sealed(SCHEMA, {"b": 1, "a": "é"})

    digest = hashlib.sha256('{"a":"é","b":1,"schema":"localtrack/thing/1"}'.encode()).hexdigest()
    assert data.decode() == f'{{"schema":"localtrack/thing/1","a":"é","b":1,"sha256":"{digest}"}}\n'
    assert json.loads(sealed(SCHEMA, {}))["schema"] == SCHEMA


@given(st.dictionaries(st.text().filter(lambda k: k not in ("schema", "sha256")), JSON, max_size=4))
def test_documents_come_back(body: dict[str, object]) -> None:
    """Every JSON content is itself again, checked."""
    assert parse_sealed(sealed(SCHEMA, body), FAMILY, "here") == {**body, "schema": SCHEMA}


def test_lone_surrogates_come_back() -> None:
    """A file name that is no Unicode does not make a task unwritable."""
    body = {"name": "\udcff\ud800"}
    assert parse_sealed(sealed(SCHEMA, body), FAMILY, "here")["name"] == "\udcff\ud800"


def test_every_truncation_is_found() -> None:
    """Cut at any byte, a document is refused, and the message says where it lies."""
    data = sealed(SCHEMA, {"a": [1, 2.5, None], "name": "é"})
    for size in range(len(data) - 1):
        with pytest.raises(CorruptFileError, match="the/path"):
            parse_sealed(data[:size], FAMILY, "the/path")
    assert parse_sealed(data[:-1], FAMILY, "the/path")["a"] == [1, 2.5, None]


def test_every_flipped_byte_is_found() -> None:
    """A changed byte anywhere is refused, or changes nothing."""
    data = sealed(SCHEMA, {"a": [1, 2.5, None], "name": "text"})
    right = parse_sealed(data, FAMILY, "here")
    for position in range(len(data)):
        for bit in (1, 0x20):
            bad = data[:position] + bytes([data[position] ^ bit]) + data[position + 1 :]
            try:
                assert parse_sealed(bad, FAMILY, "here") == right
            except CorruptFileError:
                continue


@pytest.mark.parametrize(
    "data",
    [b"", b"null", b"[]", b"{}", b'"x"', b"\xff", b'{"schema":5}', b'{"schema":"localtrack/other/1"}', b"[" * 100_000,
     b'{"schema":"localtrack/thing/1","a":' + b"[" * 5000 + b"]" * 5000 + b"}", b'{"schema":"localtrack/thing/1","a":NaN}',
     b'{"schema":"localtrack/thing/1","a":' + b"9" * 5000 + b"}", b'{"schema":"localtrack/thing/1","sha256":7}'],
)  # fmt: skip
def test_what_is_no_document_is_refused(data: bytes) -> None:
    """Garbage of every kind is damage with a message, never another error."""
    with pytest.raises(CorruptFileError, match="here"):
        parse_sealed(data, FAMILY, "here")


def test_files_that_are_no_files(tmp_path: Path) -> None:
    """A pipe, a folder and a link at a document's name raise at once."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/etc/passwd")
    for name in ("folder", "pipe", "link", "missing"):
        with pytest.raises(OSError):
            open_sealed(tmp_path / name, FAMILY)


def test_not_a_number_is_not_written() -> None:
    """A raw NaN in a document is a mistake of ours and raises; values go through their own marks."""
    with pytest.raises(ValueError, match="JSON"):
        canonical({"a": float("nan")})


def test_times() -> None:
    """Times are UTC with microseconds, and foreign ones are zero."""
    assert stamp(0.5) == "1970-01-01T00:00:00.500000Z"
    assert stamp(1.9999999) == "1970-01-01T00:00:02.000000Z"
    assert seconds("1970-01-01T00:00:00.500000Z") == 0.5
    assert seconds("") == seconds("yesterday") == 0.0
    assert abs(seconds(now()) - seconds(stamp(seconds(now())))) < 1
