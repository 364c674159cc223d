"""Artifacts in each form that ClearML has for them: what goes in comes out, with its types."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import enum
import gzip
import json
import logging
import pathlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import PIL.Image
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localtrack.errors import InvalidValueError, MissingExtraError
from localtrack.records.task import TaskRecord
from localtrack.services import artifacts, tasks
from localtrack.services.context import StoreContext


class Colour(enum.Enum):
    RED = 1


class Point(NamedTuple):
    x: int


@pytest.fixture
def task(ctx: StoreContext) -> TaskRecord:
    """Return a draft."""
    return tasks.create(ctx, name="run", project="p")[1]


Trip = Callable[..., tuple[dict[str, Any], Any, Path]]


@pytest.fixture
def trip(ctx: StoreContext, task: TaskRecord) -> Trip:
    """Return a function that stores an object and reads it back: entry, object, file."""

    def run(value: Any, name: str = "data", **options: Any) -> tuple[dict[str, Any], Any, Path]:
        folder = ctx.index.locate(task.id)
        entry = artifacts.upload(ctx, folder, name, value, artifacts.Options(**options))
        return entry, artifacts.load(ctx, folder, entry), folder / entry["file"]

    return run


ARRAYS = {
    "floats": np.array([[0.1, np.nan], [np.inf, -1e-300]]), "small floats": np.arange(3, dtype="float32") / 3,
    "ints": np.arange(6).reshape(2, 3), "one row": np.array([[1, 2, 3]]), "one column": np.array([[1], [2]]),
    "bools": np.array([True, False]), "empty": np.empty((0, 4), dtype="int16"), "big endian": np.arange(3, dtype=">i4"),
    "unsigned": np.array([2**64 - 1, 0], dtype="uint64"), "a single one": np.array([7.5]),
}  # fmt: skip


@pytest.mark.parametrize("suffix", [None, ".npz", ".npy", ".csv.gz"])
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays(trip: Trip, name: str, suffix: str | None) -> None:
    """An array has its values, shape and type again in every form."""
    array = ARRAYS[name]
    entry, back, path = trip(array, extension=suffix)

    assert entry["type"] == "numpy"
    assert path.name.endswith(suffix or ".npz")
    assert back.dtype == array.dtype
    assert np.array_equal(back, array, equal_nan=array.dtype.kind == "f")


def test_arrays_by_other_means(trip: Trip) -> None:
    """An npz holds the array under the artifact's name; what a table can't hold goes into npz; others are pickled."""
    _, _, path = trip(np.arange(3), name="my/array é")
    with np.load(path) as arrays:
        assert list(arrays) == ["my/array é"]
    for odd in (np.zeros((2, 2, 2)), np.array(3.5), np.array([1 + 2j]), np.array(["a"]), np.array([b"x", b"yz"])):
        entry, back, path = trip(odd, extension=".csv.gz")
        assert (entry["type"], path.suffix, back.dtype, back.shape) == ("numpy", ".npz", odd.dtype, odd.shape)
        assert np.array_equal(back, odd)
    masked = np.ma.masked_array([1, 2], mask=[True, False])
    entry, back, _ = trip(masked)
    assert (entry["type"], type(back)) == ("pickle", type(masked))
    assert back.mask.tolist() == [True, False]


def _frames() -> dict[str, pd.DataFrame]:
    plain = pd.DataFrame(
        {"i": [1, 2], "f": [0.1, np.nan], "t": ["x", "y"], "b": [True, False], "d": pd.to_datetime(["2024-01-01", "2024-05-02"])},
        index=["r1", "r2"],
    )  # fmt: skip
    return {
        "plain": plain, "named index": plain.rename_axis("row"), "int columns": pd.DataFrame({0: [1], 5: [2.5]}),
        "dates": pd.DataFrame({"v": [1.5, 2]}, index=pd.DatetimeIndex(["2024-01-01", "2024-01-03"], name="day")),
        "no rows": plain.iloc[:0], "category": pd.DataFrame({"c": pd.Categorical(["a", "b", "a"])}),
        "small": pd.DataFrame({"x": np.array([1, 2], dtype="int8")}), "twice": pd.DataFrame([[1, 2]], columns=["a", "a"]),
    }  # fmt: skip


@pytest.mark.parametrize("suffix", [None, ".parquet", ".feather", ".csv", ".csv.gz", ".pickle", ".pkl"])
@pytest.mark.parametrize("name", _frames())
def test_frames(trip: Trip, name: str, suffix: str | None) -> None:
    """A DataFrame has its cells, types, index and column names again in every form."""
    frame = _frames()[name]
    entry, back, path = trip(frame, extension=suffix)

    assert entry["type"] == ("pickle" if path.suffix in (".pkl", ".pickle") else "pandas")
    assert suffix is None or path.name.endswith(suffix) or name in ("twice", "int columns")
    pd.testing.assert_frame_equal(back, frame, check_categorical=suffix not in (".csv", ".csv.gz"))


@pytest.mark.parametrize(
    "column",
    [
        [1, 2], [1.5, None], [[1], [2]], [{"a": 1}, {"b": 2}], [(1,), "x"], [{1}, {2}], [Point(1), Point(2)], [1, "x"],
        [np.zeros(2), np.ones(2)], [Colour.RED, None], [dt.time(1), dt.time(2)], [2**70, 1],
    ],
)  # fmt: skip
def test_object_columns(trip: Trip, column: list[Any]) -> None:
    """Cells that Parquet would turn into something else are kept as they are."""
    frame = pd.DataFrame({"c": pd.Series(column, dtype=object)})
    _, back, _ = trip(frame)

    assert back["c"].dtype == object
    assert [type(cell) for cell in back["c"]] == [type(cell) for cell in column]
    assert str(back["c"].tolist()) == str(column)


def test_frames_of_several_levels(trip: Trip) -> None:
    """Indexes and columns of several levels come back."""
    index = pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["k", "n"])
    for frame in (pd.DataFrame({"v": [1, 2]}, index=index), pd.DataFrame([[1, 2]], columns=index)):
        pd.testing.assert_frame_equal(trip(frame)[1], frame)


@pytest.mark.parametrize("suffix", [None, ".png", ".bmp", ".tiff", ".webp", ".jpg", ".gif"])
def test_images(trip: Trip, suffix: str | None) -> None:
    """An image is stored in any format that PIL writes; lossless ones give the same pixels."""
    image = PIL.Image.new("RGB", (16, 8), (200, 10, 30))
    entry, back, path = trip(image, extension=suffix)

    assert (entry["type"], back.size) == ("image", (16, 8))
    assert path.suffix == (suffix or ".png")
    assert entry["content_type"].startswith("image/")
    if suffix not in (".jpg", ".webp"):
        assert back.convert("RGB").tobytes() == image.tobytes()


def test_images_that_a_format_can_not_hold(trip: Trip) -> None:
    """They go into PNG, and what PNG can't hold is pickled."""
    _, back, path = trip(PIL.Image.new("RGBA", (2, 2), (1, 2, 3, 4)), extension=".jpg")
    assert (path.suffix, back.mode, back.getpixel((0, 0))) == (".png", "RGBA", (1, 2, 3, 4))
    assert trip(PIL.Image.new("CMYK", (2, 2)))[0]["type"] == "pickle"


DICTS: dict[str, Any] = {
    "plain": {"b": 1, "a": {"x": [1, 2.5, None, True, "é 🚀"]}}, "int keys": {1: "a", 2.5: "b", None: "c", (1, 2): "d"},
    "special": {"nan": [float("inf")], "t": (1, 2), "s": {1, 2}, "f": {"x": {frozenset({1}): 1}}, "by": b"\0\xff"},
    "dates": {"d": dt.date(2024, 1, 1), "m": dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc)},
    "texts like others": {"a": "1", "b": "true", "c": "null", "d": "2024-01-01", "e": "", "f": "- x\n- y", "g": "no"},
    "empty": {}, "marks": {"$float": "nan"}, "big": {"n": 2**80, "f": 1e-320},
}  # fmt: skip


@pytest.mark.parametrize("suffix", [None, ".json", ".yaml", ".yml"])
@pytest.mark.parametrize("name", DICTS)
def test_dicts(trip: Trip, name: str, suffix: str | None) -> None:
    """A dict comes back equal in JSON and YAML, keys and types as they were, where ClearML makes texts of them."""
    entry, back, path = trip(DICTS[name], extension=suffix)

    assert (entry["type"], path.suffix) == ("dict", suffix or ".json")
    assert back == DICTS[name]
    assert repr(back) == repr(DICTS[name]) or name in ("plain", "special", "big")


def test_yaml_is_what_people_write(trip: Trip) -> None:
    """A plain dict is plain YAML, keys in order when asked; what YAML would change is marked instead."""
    yaml = pytest.importorskip("yaml")
    _, _, path = trip({"b": 1, "a": [1, "x"]}, extension=".yaml", sort_keys=False)
    assert path.read_text() == "b: 1\na:\n- 1\n- x\n"
    _, _, path = trip({1: "int key"}, extension=".yaml")
    assert yaml.safe_load(path.read_text()) == {1: "int key"}


def test_yaml_without_pyyaml(trip: Trip, ctx: StoreContext, task: TaskRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without PyYAML the file is JSON, which is YAML; YAML of others then names the package to install."""
    monkeypatch.setitem(sys.modules, "yaml", None)
    entry, back, path = trip({"a": (1,)}, extension=".yaml")
    assert back == {"a": (1,)}
    assert json.loads(path.read_text()) == {"a": {"$tuple": [1]}}
    path.write_text("a: 1\n")
    from localtrack.services import yaml_text

    with pytest.raises(MissingExtraError, match="pip install pyyaml"):
        yaml_text.load(path)
    assert entry["content_type"] == "application/yaml"


def test_sorted_keys(trip: Trip) -> None:
    """Keys are sorted in the file unless the order shall stay; equal dicts then are equal files."""
    one, _, path = trip({"b": 1, "a": {"d": 1, "c": 2}})
    other, _, _ = trip({"a": {"c": 2, "d": 1}, "b": 1})
    assert one["sha256"] == other["sha256"]
    assert path.read_text().startswith('{\n    "a": {')
    kept, back, _ = trip({"b": 1, "a": 2}, sort_keys=False)
    assert list(back) == ["b", "a"]
    assert kept["sha256"] != one["sha256"]


@pytest.mark.parametrize(
    "value",
    [
        {"w": np.zeros(3)}, {"p": pathlib.PurePosixPath("/a")}, {"e": Colour.RED}, {"n": Point(1)}, {"o": decimal.Decimal(1)},
        {"t": dt.time(1)}, {"ts": pd.Timestamp("2024-01-01T00:00:00.000000001")}, {"b": [bytearray(b"x")]}, [Point(1)],
        Point(2), frozenset({1}), np.float64(1.5), np.int64(3), 3 + 4j, pd.Series([1, 2]), Colour.RED, range(3),
    ],
)  # fmt: skip
def test_what_json_would_change(trip: Trip, value: Any) -> None:
    """Objects that JSON would turn into others are pickled, and come back of the same type."""
    entry, back, _ = trip(value)

    assert entry["type"] == "pickle"
    assert type(back) is type(value)
    assert str(back) == str(value)


def test_dicts_of_other_makes(trip: Trip) -> None:
    """Dicts of other classes are JSON, as numbers of numpy in them; equal to what they were."""
    for value in (
        collections.OrderedDict(a=1), collections.defaultdict(int, a=np.int64(3)), collections.Counter("aab"),
        MappingProxyType({"a": np.float32(0.5)}), {"ok": np.bool_(True)},
    ):  # fmt: skip
        entry, back, _ = trip(value)
        assert (entry["type"], back) == ("dict", dict(value))
    loop: dict[str, Any] = {}
    loop["self"] = loop
    entry, back, _ = trip(loop)
    assert entry["type"] == "pickle"
    assert back["self"] is back


def test_texts_and_nothing(trip: Trip) -> None:
    """A text is a text file, in any suffix; None and the empty text come back, even where nothing else is pickled."""
    entry, back, path = trip("# Title\r\nline\n", extension=".md")
    assert (entry["type"], back, path.suffix, entry["content_type"]) == (
        "string",
        "# Title\r\nline\n",
        ".md",
        "text/markdown",
    )
    for nothing in (None, ""):
        entry, back, path = trip(nothing, auto_pickle=False)
        assert (entry["type"], back, path.suffix) == ("pickle", nothing, ".pkl")
    entry, back, _ = trip({"a": 1}, extension=".pkl")
    assert (entry["type"], back) == ("pickle", {"a": 1})
    with pytest.raises(InvalidValueError, match="auto_pickle=True"):
        trip({"a": decimal.Decimal(1)}, auto_pickle=False)


def test_suffixes_that_do_not_fit(trip: Trip, caplog: pytest.LogCaptureFixture) -> None:
    """A form that the kind has not is said, with those there are, and the usual one is taken."""
    with caplog.at_level(logging.WARNING):
        assert trip(np.arange(2), extension=".xyz")[2].suffix == ".npz"
        assert trip({"a": 1}, extension=".csv")[2].suffix == ".json"
        assert trip(PIL.Image.new("L", (1, 1)), extension=".nope")[2].suffix == ".png"
    assert ".xyz is no form of a numpy (there are .npz, .npy, .csv.gz, .pkl); it is stored as .npz" in caplog.text


def test_same_object_same_bytes(trip: Trip) -> None:
    """Compressed text holds no time: the same frame gives the same file."""
    frame = pd.DataFrame({"a": [1]})
    one, other = (trip(frame, extension=".csv.gz") for _ in range(2))
    assert one[0]["sha256"] == other[0]["sha256"]
    assert gzip.decompress(one[2].read_bytes()) == b",a\n0,1\n"


def test_previews(trip: Trip) -> None:
    """A preview is short, and an object whose own code fails is kept without one."""
    assert len(trip("x" * 200_000)[0]["preview"]) == 65_000
    assert trip({"a": 1}, preview=False)[0]["preview"] == ""
    assert trip({"a": 1}, preview=12)[0]["preview"] == "12"
    assert '"a": 1' in trip({"a": 1}, preview=True)[0]["preview"]
    assert trip(Broken())[0]["preview"] == "<Broken: no preview, ZeroDivisionError>"


class Broken:
    """Can be stored, but not shown."""

    def __repr__(self) -> str:
        return str(1 // 0)


def test_names_in_archives(trip: Trip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names start at the folder, at a pattern's fixed part, or at what the paths share; nothing is left out."""
    tmp_path = tmp_path / "in"
    for name in ("a/x.txt", "a/b/x.txt", "c/x.txt", "a/back\\slash.txt", "a/C:colon.txt", "a/Makefile", "a/makefile"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "a" / "empty").mkdir()

    def names(value: Any) -> set[str]:
        folder = trip(value)[1]
        return {
            path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() or path.name == "empty"
        }

    whole = {"x.txt", "b/x.txt", "back\\slash.txt", "C:colon.txt", "Makefile", "makefile", "empty"}
    assert names(tmp_path / "a") == names(str(tmp_path / "a")) == whole
    assert names(str(tmp_path / "*.txt")) == {"a/x.txt", "a/b/x.txt", "c/x.txt", "a/back\\slash.txt", "a/C:colon.txt"}
    assert names(str(tmp_path / "?" / "x.txt")) == {"a/x.txt", "c/x.txt"}
    assert names(str(tmp_path / "a" / "**" / "x.txt")) == {"x.txt", "b/x.txt"}
    assert names([tmp_path / "a" / "b", tmp_path / "c" / "x.txt"]) == {"a/b/x.txt", "c/x.txt"}
    assert names([tmp_path / "c" / "x.txt"] * 2) == {"x.txt"}
    monkeypatch.chdir(tmp_path / "a")
    assert names(Path("Make*")) == {"Makefile"}
    assert trip("Make*")[0]["type"] == "string"
    assert trip("no/such/*")[0]["type"] == "string"
    with pytest.raises(InvalidValueError, match="no file or folder"):
        trip(Path("no/such/*"))
    with pytest.raises(InvalidValueError, match="no file"):
        trip([Path("Makefile"), Path("none")])


_KEYS = st.one_of(st.text(max_size=5), st.integers(), st.booleans(), st.none(), st.floats(allow_nan=False))
_VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=10), st.binary(max_size=5)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(_KEYS, inner, max_size=3),
        st.tuples(inner),
        st.tuples(inner, inner),
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=_VALUES, suffix=st.sampled_from([None, ".json", ".yaml", ".pkl"]), sort_keys=st.booleans())
def test_any_value(trip: Trip, value: Any, suffix: str | None, sort_keys: bool) -> None:
    """Any nesting of plain values comes back as it was, whatever the form."""
    if isinstance(value, str) and value:
        return  # may name a file that is there
    _, back, _ = trip(value, extension=suffix, sort_keys=sort_keys)

    assert back == value
    assert type(back) is type(value)
