"""What scripts connect besides plain values: arrays, named tuples, library configurations, objects of any kind."""

from __future__ import annotations

import datetime as dt
import os
from collections import deque, namedtuple
from collections.abc import Callable, Iterator, MutableMapping
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localtrack import Task

Point = namedtuple("Point", "x y")


class Settings(MutableMapping[str, Any]):
    """A mapping that is no dict and has attributes, as configuration libraries have them."""

    def __init__(self, **values: Any) -> None:
        self._values = values

    def __getattr__(self, name: str) -> Any:
        return self._values[name]

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if key == "closed":
            raise PermissionError("closed is closed")
        self._values[key] = value

    def __delitem__(self, key: str) -> None:
        del self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class Model:
    """What pydantic's classes look like."""

    __pydantic_fields__ = {"lr": object(), "depth": object()}
    model_config: dict[str, Any] = {}

    def __init__(self) -> None:
        self.lr, self.depth = 0.1, 2

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.__pydantic_fields__:
            raise ValueError(f"no field {name}")
        super().__setattr__(name, value)


class Slotted:
    """What attrs' slotted classes look like."""

    __slots__ = ("lr",)
    __attrs_attrs__ = (type("Attribute", (), {"name": "lr"}),)

    def __init__(self) -> None:
        self.lr = 0.1


@pytest.fixture
def replay(start: Callable[..., Task], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run a piece of a script, override, run it as an agent would, and return what it returned then."""

    def run(script: Callable[[Task], Any], overrides: dict[str, Any]) -> Any:
        task = start(reuse_last_task_id=False)
        script(task)
        task.close()
        draft = Task.clone(task)
        draft.set_parameters_as_dict({"General": overrides})
        monkeypatch.setenv("LOCALTRACK_TASK_ID", draft.id)
        remote = start()
        try:
            return script(remote)
        finally:
            remote.close()
            del os.environ["LOCALTRACK_TASK_ID"]

    return run


def test_arrays_come_back_as_arrays(replay: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """An array is overridden by a list, in its own element type; one that stays is the very same and is not told."""
    kept = np.array([1.5, np.nan])

    def script(task: Task) -> Any:
        return task.connect(
            {"a": np.array([1, 2], dtype=np.int32), "kept": kept, "large": np.zeros(3000), "bad": np.eye(2)}
        )

    found = replay(script, {"a": "[3, 4, 5]", "bad": "no"})
    assert isinstance(found["a"], np.ndarray)
    assert (found["a"].tolist(), found["a"].dtype) == ([3, 4, 5], np.dtype(np.int32))
    assert found["large"].shape == (3000,)
    assert found["bad"].tolist() == [[1, 0], [0, 1]]
    told = capsys.readouterr().err
    assert "General/a is" in told
    assert "General/bad: ['no'] does not fit" in told
    assert "General/kept" not in told
    assert "large" not in told


def metric(new: Any, old: Any) -> int:
    """A function that a script has in its configuration."""
    return 0


class Step:
    """An object of the script's that prints its address."""


class Mode(Enum):
    """What a script chooses from."""

    fast = 1
    slow = 2


def test_objects_in_lists_stay_the_codes_own(replay: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """An unchanged clone gets the very objects of the code, in lists, tuples, sets and dicts in lists; nothing is told."""
    steps = [Step(), Step()]
    values: dict[str, Any] = {
        "metrics": [metric], "steps": steps, "pair": (steps[0], 3), "set": {metric, len}, "paths": [Path("a"), Path("b")],
        "modes": [Mode.fast], "kinds": [int, float], "nested": [{"f": metric, "n": 1}, [metric]], "frozen": frozenset({1}),
        "deep": {"fs": [metric]}, "numbers": [np.float32(0.5)], "layers": [1, 2],
    }  # fmt: skip

    found = replay(lambda task: task.connect(values), {})

    assert {key for key, item in found.items() if item is not values[key]} <= {"deep", "set", "frozen"}
    assert found["deep"]["fs"] is values["deep"]["fs"]
    assert (found["set"], found["frozen"]) == ({metric, len}, frozenset({1}))
    assert type(found["frozen"]) is frozenset
    assert "parameter" not in capsys.readouterr().err


def test_changed_items_take_the_type_of_the_old_ones(replay: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A path, a member or a number in a list is made of what was typed; where none can be made the code's list stays."""
    steps = [Step(), Step()]

    def script(task: Task) -> Any:
        return task.connect(
            {"paths": [Path("a")], "modes": (Mode.fast,), "n": [np.float32(1)], "rates": [0.5, 1.0], "fs": [metric, len],
             "kept": [metric], "steps": steps, "rows": [Point(1, Path("a"))]}
        )  # fmt: skip

    overrides = {
        "paths": ["b", "c"], "modes": ["slow", "fast"], "n": "[2, 3]", "rates": "[1, 0]", "fs": f"['{len}']",
        "kept": ["accuracy"], "steps": [str(steps[0])], "rows": [[2, "b"]],
    }  # fmt: skip
    found = replay(script, overrides)

    assert found["paths"] == [Path("b"), Path("c")]
    assert found["modes"] == (Mode.slow, Mode.fast)
    assert [type(one) for one in found["n"]] == [np.float32, np.float32]
    assert [type(one) for one in found["rates"]] == [float, float]
    assert found["fs"] == [len]
    assert found["kept"] == [metric]
    assert found["steps"] == steps
    assert found["rows"] == [Point(2, Path("b"))]
    told = capsys.readouterr().err
    assert told.count("General/kept: ") == 1 == told.count("General/steps: ")


def test_configurations_keep_the_objects_of_the_code(
    start: Callable[..., Task], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """So does ``connect_configuration``: no text takes an object's place."""

    def script(task: Task) -> Any:
        return task.connect_configuration({"t": (metric, 1), "fs": [metric, len], "f": metric, "n": 1}, name="c")

    task = start(reuse_last_task_id=False)
    script(task)
    task.close()
    draft = Task.clone(task)
    draft.set_configuration_object("c", config_dict={"t": (metric, 2), "fs": [str(len)], "f": "other", "n": 2})
    monkeypatch.setenv("LOCALTRACK_TASK_ID", draft.id)
    remote = start()
    found = script(remote)
    remote.close()

    assert found == {"t": (metric, 2), "fs": [len], "f": metric, "n": 2}
    assert capsys.readouterr().err.count("does not fit") == 1


def test_sequences_and_numbers_of_their_own_kind(replay: Any) -> None:
    """Named tuples, deques, decimals and dates are overridden in their own type; what does not fit is kept."""

    def script(task: Task) -> Any:
        return task.connect(
            {"p": Point(1, 2), "q": Point(1, 2), "d": deque([1]), "e": deque([1]), "n": Decimal("1.1"), "m": Decimal(2),
             "day": dt.date(2020, 1, 1), "long": np.longdouble(1.5)}
        )  # fmt: skip

    found = replay(script, {"p": "[3, 4]", "d": "[5]", "n": "no number", "m": "3.5", "day": "2021-02-03"})
    assert (found["p"], type(found["p"])) == (Point(3, 4), Point)
    assert (found["q"], type(found["q"])) == (Point(1, 2), Point)
    assert (found["d"], found["e"]) == (deque([5]), deque([1]))
    assert (found["n"], found["m"]) == (Decimal("1.1"), Decimal("3.5"))
    assert found["day"] == dt.date(2021, 2, 3)
    assert found["long"] == 1.5


def test_tensors_of_other_libraries_are_kept_as_text(task: Task) -> None:
    """An object with tolist() whose size is a method, as torch's have it, stops no script."""

    class Tensor:
        shape = (2,)

        def size(self) -> tuple[int]:
            return (2,)

        def tolist(self) -> list[int]:
            raise AssertionError("a large one takes its time")

        def __str__(self) -> str:
            return "tensor([1, 2])"

    task.connect({"w": Tensor()})
    assert task.get_parameter("General/w") == "tensor([1, 2])"


def test_a_librarys_mapping_stays_itself(replay: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Both connect and connect_configuration give the very object back, with the stored values in it and in what it holds."""

    def script(task: Task) -> Any:
        inner = Settings(depth=2)
        given = Settings(lr=0.1, net=inner, closed=1)
        settings = task.connect(given)
        other = Settings(net=Settings(depth=1), gone=2)
        assert task.connect_configuration(other, name="shown") is other
        assert settings is given
        assert other.net.depth == 1
        return settings.lr, settings.net.depth, inner.depth, settings.closed

    assert replay(script, {"lr": 0.5, "net": {"depth": 7}, "closed": 3}) == (0.5, 7, 7, 1)
    assert "closed is closed" in capsys.readouterr().err


def test_nested_dicts_are_filled_where_they_are(replay: Any) -> None:
    """A part of a dict that the script took before it connected the whole gets the stored values too."""

    def script(task: Task) -> Any:
        whole = {"net": {"depth": 1}}
        part = whole["net"]
        task.connect(whole)
        return part["depth"]

    assert replay(script, {"net": {"depth": 9}}) == 9


def test_declared_fields_alone_are_recorded(replay: Any) -> None:
    """Of pydantic's and attrs' classes the fields count, with slots too, and none of what the library keeps there."""

    def script(task: Task) -> Any:
        model = task.connect(Model())
        slotted = task.connect(Slotted(), name="Slotted")
        names = sorted(name for name in task.get_parameters() if name.startswith("General/"))
        return names, model.lr, model.depth, slotted.lr

    names, *values = replay(script, {"lr": 0.5})
    assert names == ["General/depth", "General/lr"]
    assert values == [0.5, 2, 0.1]


def test_configurations_hold_any_object(replay: Any) -> None:
    """What JSON has no place for is stored as text, as with ClearML, and is the code's own object under an agent."""

    class Loss:
        pass

    loss = Loss()

    def script(task: Task) -> Any:
        return task.connect_configuration(
            {"kind": dict, "loss": loss, "inner": [{"f": len}], "array": np.arange(2), "n": 1, 3: deque([1])}, name="c"
        )

    found = replay(script, {})
    assert found["kind"] is dict
    assert found["loss"] is loss
    assert found["inner"][0]["f"] is len
    assert found["array"].tolist() == [0, 1]
    assert found[3] == deque([1])


def test_pairs_and_odd_names_are_parameters(draft: Task) -> None:
    """set_parameters takes (name, value) pairs as ClearML's does, and a name that is no text."""
    draft.set_parameters([("a", 1), ("Args/b", 2)], {3: {"deep": 4}})
    assert draft.get_parameters(cast=True) == {"General/a": 1, "Args/b": 2, "General/3/deep": 4}


@pytest.mark.parametrize("tags", ["red deep net", ("red", "deep", "net")])
def test_a_text_of_tags_is_split_at_blanks(start: Callable[..., Task], tags: Any) -> None:
    """Task.init and set_tags take one text as add_tags does, not its letters."""
    task = start(tags=tags)
    assert task.get_tags() == ["red", "deep", "net"]
    task.set_tags(tags)
    assert task.get_tags() == ["red", "deep", "net"]
    task.remove_tags(tags)
    assert task.get_tags() == []
