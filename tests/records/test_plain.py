"""The data classes of the package mean what the standard ones mean."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import subprocess
import sys
from typing import Any

import pytest

from localtrack.records import plain


@plain.dataclass(frozen=True, slots=True)
class Point:
    """A frozen one."""

    x: int
    y: int = 2
    tags: list[str] = plain.field(default_factory=list)
    note: str = plain.field(default="", compare=False, repr=False)

    @property
    def size(self) -> int:
        return self.x * self.y


@plain.dataclass(slots=True)
class Counter:
    """One that changes."""

    name: str
    count: int = 0

    def __repr__(self) -> str:
        return f"<{self.name}: {self.count}>"


@dataclasses.dataclass(frozen=True, slots=True)
class StandardPoint:
    """What Point must be like."""

    x: int
    y: int = 2
    tags: list[str] = dataclasses.field(default_factory=list)
    note: str = dataclasses.field(default="", compare=False, repr=False)


@dataclasses.dataclass(slots=True)
class StandardCounter:
    """What Counter must be like."""

    name: str
    count: int = 0


CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((1,), {}), ((1, 3), {}), ((1,), {"note": "n"}), ((), {"x": 1, "tags": ["a"]}), ((1, 2, ["b"], "n"), {}),
    ((), {}), ((1, 2, [], "", 5), {}), ((1,), {"x": 2}), ((1,), {"z": 2}), ((), {"y": 2, "z": 1}),
]  # fmt: skip


def outcome(made: type[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The fields' values, or the error's type."""
    try:
        one = made(*args, **kwargs)
    except TypeError as error:
        return type(error)
    return [getattr(one, name) for name in ("x", "y", "tags", "note")]


@pytest.mark.parametrize(("args", "kwargs"), CALLS)
def test_takes_and_refuses_what_a_standard_one_does(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """By place, by name, by default, by factory; too few, too many, twice and unknown."""
    assert outcome(Point, args, kwargs) == outcome(StandardPoint, args, kwargs)


@pytest.mark.parametrize(
    ("args", "kwargs", "word"),
    [
        ((), {}, "'x'"),
        ((1,), {"x": 2}, "multiple values for argument 'x'"),
        ((1,), {"z": 2}, "'z'"),
        ((1,) * 5, {}, "4"),
    ],
)
def test_an_error_names_the_class_and_the_argument(args: tuple[Any, ...], kwargs: dict[str, Any], word: str) -> None:
    """As Python's own does."""
    with pytest.raises(TypeError, match=r"Point\.__init__\(\).*" + word):
        Point(*args, **kwargs)


def test_the_default_of_a_factory_is_made_anew_each_time() -> None:
    """Two objects never share a list."""
    assert Point(1).tags is not Point(1).tags


def test_equality_and_hash_go_by_class_and_compared_fields() -> None:
    """A field with compare=False takes no part; another class is never equal."""
    assert Counter("a", 1) == Counter("a", 1) != Counter("a", 2)
    assert Point(1, note="a") == Point(1, note="b")
    assert Point(1) != StandardPoint(1)
    tagless = [Point(1, 2, ()), Point(1, 2, (), "other")]  # type: ignore[arg-type]
    assert len(set(tagless)) == 1
    with pytest.raises(TypeError, match="unhashable"):
        hash(Counter("a"))


def test_repr_shows_the_fields_that_may_be_shown_and_a_class_keeps_its_own() -> None:
    """``repr=False`` hides a field."""
    assert repr(Point(1, note="secret")) == repr(StandardPoint(1)).replace("StandardPoint", "Point")
    assert repr(Counter("a")) == "<a: 0>"


def test_a_frozen_one_can_not_be_changed_and_a_plain_one_takes_no_other_attribute() -> None:
    """As a standard one with slots."""
    point, counter = Point(1), Counter("a")
    with pytest.raises(AttributeError, match="cannot assign to field 'x' of a Point"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match="cannot delete field 'x' of a Point"):
        del point.x  # type: ignore[misc]
    counter.count += 1
    assert counter.count == 1
    with pytest.raises(AttributeError):
        counter.other = 1  # type: ignore[attr-defined]
    assert point.size == 2


def test_replace_and_fields_do_what_the_standard_ones_do() -> None:
    """A copy with changes; an unknown name is refused."""
    point = Point(1, 5, ["a"], "n")
    changed = plain.replace(point, x=2)
    assert (changed.x, changed.y, changed.tags, changed.note) == (2, 5, ["a"], "n")
    assert point.x == 1
    with pytest.raises(TypeError, match="'z'"):
        plain.replace(point, z=1)  # type: ignore[call-arg]
    assert [one.name for one in plain.fields(Point)] == [one.name for one in dataclasses.fields(StandardPoint)]
    assert [one.name for one in plain.fields(point)] == ["x", "y", "tags", "note"]


def test_the_functions_of_the_standard_module_take_them() -> None:
    """A type checker believes that these are standard ones, so they act as such."""
    point = Point(1, 5, ["a"], "n")
    assert dataclasses.is_dataclass(Point)
    assert dataclasses.asdict(point) == {"x": 1, "y": 5, "tags": ["a"], "note": "n"}
    assert dataclasses.replace(point, y=6).y == 6
    standard = {one.name: (one.type, one.default, one.repr) for one in dataclasses.fields(StandardPoint)}
    assert {one.name: (one.type, one.default, one.repr) for one in dataclasses.fields(point)} == standard


@pytest.mark.parametrize("one", [Point(1, 5, ["a"], "n"), Counter("a", 3)])
def test_copies_and_pickles_hold_every_field(one: Any) -> None:
    """Frozen ones too."""
    for again in (copy.copy(one), copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert again == one
        assert again is not one
        assert [getattr(again, field.name) for field in plain.fields(one)] == [
            getattr(one, field.name) for field in plain.fields(one)
        ]


def test_the_facade_loads_none_of_the_slow_modules() -> None:
    """What a script does not use itself costs it nothing."""
    slow = "dataclasses inspect ast argparse logging concurrent.futures numpy pyarrow git psutil watchdog plotly pickle gzip"
    code = f"from localtrack import Task; import sys; print([n for n in {slow.split()!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("choice", ["enable", "disable"])
def test_the_facade_leaves_the_garbage_collector_as_it_was(choice: str) -> None:
    """It pauses while the facade loads, and goes on only where it ran."""
    code = f"import gc; gc.{choice}(); from localtrack import Task; print(gc.isenabled())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{choice == 'enable'}\n"
