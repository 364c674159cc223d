"""Parquet parts: what journals become."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from localtrack.errors import CorruptFileError
from localtrack.fs.disk import Disk
from localtrack.store.journal import ScalarJournal
from localtrack.store.journal_records import HEADER, RECORD_BYTES
from localtrack.store.parts import COLUMNS, fold, read_part, superseded_by
from localtrack.store.scalars import read_scalars

SPECIAL = [0.1, math.nan, math.inf, -math.inf, -0.0, 5e-324, 1e308]


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    """Return a disk."""
    return Disk(tmp_path / "tmp")


def _journal(disk: Disk, folder: Path, count: int = 10) -> Path:
    pen = ScalarJournal(disk, folder, "w", _fail)
    for step in range(count):
        pen.report("loss", f"s{step % 2}", SPECIAL[step % len(SPECIAL)], count - step, 1000 + step)
    (path,) = pen.close()
    return path


def _fail(error: OSError) -> None:
    raise error


def _shown(folder: Path) -> str:
    found = read_scalars(folder)
    assert found.problems == []
    return repr({k: (v.iterations, v.times_us, v.values) for k, v in sorted(found.series.items())})


@pytest.mark.parametrize("trusted", [True, False])
def test_a_part_shows_what_its_journal_showed(disk: Disk, tmp_path: Path, trusted: bool) -> None:
    """Folding changes no value, no time and no iteration, NaN and infinities included, and removes the journal."""
    journal = _journal(disk, tmp_path / "s")
    before = _shown(tmp_path / "s")

    part = fold(disk, journal, trusted=trusted)

    assert part == tmp_path / "s" / "w-1.parquet"
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["w-1.parquet"]
    assert _shown(tmp_path / "s") == before


def test_the_layout_of_a_part(disk: Disk, tmp_path: Path) -> None:
    """Columns, types, encodings and key-value metadata are what the format says."""
    part = fold(disk, _journal(disk, tmp_path / "s", 5000), trusted=True)
    assert part is not None
    data = pq.ParquetFile(part)

    schema = data.schema_arrow
    assert [str(schema.field(name).type) for name in COLUMNS] == [
        "string", "string", "int64", "timestamp[us, tz=UTC]", "double",
    ]  # fmt: skip
    group = data.metadata.row_group(0)
    encodings = {group.column(i).path_in_schema: group.column(i).encodings for i in range(5)}
    assert "DELTA_BINARY_PACKED" in encodings["iteration"]
    assert "DELTA_BINARY_PACKED" in encodings["time"]
    assert "BYTE_STREAM_SPLIT" in encodings["value"]
    assert {"PLAIN_DICTIONARY", "RLE_DICTIONARY"} & set(encodings["title"])
    assert group.column(0).compression == "SNAPPY"
    assert data.metadata.num_row_groups == 2
    assert data.metadata.metadata[b"localtrack.schema"] == b"localtrack/scalars/1"
    assert superseded_by(read_part(part)) == ["w-1.journal"]


def test_folding_twice_is_harmless(disk: Disk, tmp_path: Path) -> None:
    """A process that died between publishing the part and removing the journal costs nothing."""
    journal = _journal(disk, tmp_path / "s")
    saved = {path.name: path.read_bytes() for path in (tmp_path / "s").iterdir()}
    fold(disk, journal, trusted=True)
    before = _shown(tmp_path / "s")
    for name, data in saved.items():
        (tmp_path / "s" / name).write_bytes(data)

    assert _shown(tmp_path / "s") == before
    fold(disk, journal, trusted=False)
    assert _shown(tmp_path / "s") == before
    assert not journal.exists()


@pytest.mark.parametrize("state", ["torn", "shorter"])
def test_a_part_that_lacks_points_never_costs_the_journal(disk: Disk, tmp_path: Path, state: str) -> None:
    """A torn part, or one with fewer points, is made again from the journal that is still there."""
    journal = _journal(disk, tmp_path / "s")
    before = _shown(tmp_path / "s")
    saved = {path.name: path.read_bytes() for path in (tmp_path / "s").iterdir()}
    if state == "shorter":
        journal.write_bytes(saved["w-1.journal"][: HEADER.size + 3 * RECORD_BYTES])
    part = fold(disk, journal, trusted=True)
    assert part is not None
    if state == "torn":
        part.write_bytes(part.read_bytes()[:-50])
    for name, data in saved.items():
        (tmp_path / "s" / name).write_bytes(data)

    fold(disk, journal, trusted=True)
    assert _shown(tmp_path / "s") == before


def test_an_empty_journal_leaves_no_part(disk: Disk, tmp_path: Path) -> None:
    """No points, no part, no journal."""
    journal = _journal(disk, tmp_path / "s", 1)
    journal.write_bytes(journal.read_bytes()[: HEADER.size])

    assert fold(disk, journal, trusted=True) is None
    assert list((tmp_path / "s").iterdir()) == []


def test_a_trusted_journal_with_damage_is_checked(disk: Disk, tmp_path: Path) -> None:
    """A torn record in the middle, or a point of no series, does not spoil the part."""
    journal = _journal(disk, tmp_path / "s", 6)
    data = journal.read_bytes()
    torn = HEADER.size + RECORD_BYTES
    journal.write_bytes(data[: torn + 10] + data[torn + RECORD_BYTES :])
    fold(disk, journal, trusted=True)
    assert sum(len(s.values) for s in read_scalars(tmp_path / "s").series.values()) == 5

    other = _journal(disk, tmp_path / "t", 6)
    other.with_suffix(".series").write_text('[2, "loss", "s1"]\n')
    fold(disk, other, trusted=True)
    assert list(read_scalars(tmp_path / "t").series) == [("loss", "s1")]


def test_random_damage_is_found(disk: Disk, tmp_path: Path) -> None:
    """200 truncations and bit flips: each is a named problem or shows exactly the right points; none crashes."""
    part = fold(disk, _journal(disk, tmp_path / "s", 3000), trusted=True)
    assert part is not None
    data, right = part.read_bytes(), _shown(tmp_path / "s")
    chance = random.Random(7)
    found = 0
    for turn in range(200):
        position = chance.randrange(len(data))
        bad = data[:position] if turn % 2 else _flipped(data, position, chance)
        part.write_bytes(bad)
        result = read_scalars(tmp_path / "s")
        if result.problems:
            found += 1
            assert "w-1.parquet is no whole Parquet part" in result.problems[0]
        else:
            shown = repr({k: (v.iterations, v.times_us, v.values) for k, v in sorted(result.series.items())})
            assert shown == right, f"byte {position} of {len(data)}"
    assert found >= 150  # the others hit what no reader looks at


def _flipped(data: bytes, position: int, chance: random.Random) -> bytes:
    return data[:position] + bytes([data[position] ^ (1 << chance.randrange(8))]) + data[position + 1 :]


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("fault", ["missing", "type", "nulls"])
def test_foreign_tables_are_refused(disk: Disk, tmp_path: Path, column: str, fault: str) -> None:
    """A Parquet file with other columns is named and never read as bytes of something else."""
    part = fold(disk, _journal(disk, tmp_path / "s"), trusted=True)
    assert part is not None
    table = pq.read_table(part)
    position = table.column_names.index(column)
    if fault == "missing":
        table = table.remove_column(position)
    elif fault == "type":
        table = table.set_column(position, column, pa.array([b"x"] * table.num_rows))
    else:
        table = table.set_column(position, column, pa.nulls(table.num_rows, table.schema.field(column).type))
    pq.write_table(table, part)

    with pytest.raises(CorruptFileError, match=column):
        read_part(part)
    assert read_scalars(tmp_path / "s").series == {}
