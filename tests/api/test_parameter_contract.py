"""ClearML's rules for parameters, row by row: stored, cloned, overridden, and fed back into a script by an agent."""

from __future__ import annotations

import argparse
import datetime as dt
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localtrack import Task
from localtrack.errors import InvalidValueError
from localtrack.services import parameters as service
from localtrack.services import tasks
from localtrack.task_parameters import TaskParameters, param, percent_param


class Colour(Enum):
    RED = "r"
    BLUE = "b"


@pytest.fixture
def resume(start: Callable[..., Task], monkeypatch: pytest.MonkeyPatch) -> Callable[[Task], Task]:
    """Run a draft in this process as an agent would."""

    def run(draft: Task) -> Task:
        monkeypatch.setenv("LOCALTRACK_TASK_ID", draft.id)
        return start()

    return run


@pytest.fixture
def replay(
    start: Callable[..., Task], resume: Callable[[Task], Task]
) -> Callable[[Callable[[Task], Any], dict[str, Any]], Any]:
    """Run a piece of a script here, clone its task, override, run it as an agent would, and return what it returned."""

    def run(script: Callable[[Task], Any], overrides: dict[str, Any]) -> Any:
        task = start(reuse_last_task_id=False)
        script(task)
        task.close()
        draft = Task.clone(task)
        draft.update_parameters(overrides)
        remote = resume(draft)
        try:
            return script(remote)
        finally:
            remote.close()
            del os.environ["LOCALTRACK_TASK_ID"]

    return run


ROWS: list[tuple[str, Any, str, str, Any]] = [
    ("int", 1, "1", "int", 1),
    ("float", 2.5, "2.5", "float", 2.5),
    ("bool", True, "True", "bool", True),
    ("text", "s", "s", "str", "s"),
    ("none", None, "", "", None),
    ("list", [1, 2], "[1, 2]", "list/int", [1, 2]),
    ("mixed", [1, "x"], '[1, "x"]', "list", [1, "x"]),
    ("tuple", (1, "x"), '[1, "x"]', "tuple", (1, "x")),
    ("empty", {}, "{}", "dict", {}),
    ("dicts", [{"k": 1}, 2], '[{"k": 1}, 2]', "list", [{"k": 1}, 2]),
    ("enum", Colour.RED, "RED", "Colour", "RED"),
    ("nested list", [[1], [2, [3]]], "[[1], [2, [3]]]", "list/list", [[1], [2, [3]]]),
    ("numpy", np.float32(0.5), "0.5", "float32", 0.5),
    ("array", np.arange(3), "[0, 1, 2]", "ndarray", [0, 1, 2]),
    ("infinite", math.inf, "inf", "float", math.inf),
    ("date", dt.date(2026, 1, 2), "2026-01-02", "date", dt.date(2026, 1, 2)),
    ("bytes", b"x", "b'x'", "bytes", b"x"),
]


@pytest.mark.parametrize(("name", "value", "text", "kind", "cast"), ROWS, ids=[row[0] for row in ROWS])
def test_a_value_through_store_and_clone(
    start: Callable[..., Task], name: str, value: Any, text: str, kind: str, cast: Any
) -> None:
    """Text, type and native value are ClearML's (types that ClearML drops are kept), also in a clone."""
    task = start()
    task.connect({"deep": {name: value}})
    key = f"General/deep/{name}"
    for holder in (task, Task.clone(task)):
        assert holder.get_parameter(key) == text
        found = holder.get_parameter(key, cast=True)
        assert (found, type(found)) == (cast, type(cast))
        assert holder._read().parameters[key]["type"] == kind
    description = task._read().parameters[key].get("description")
    assert description == ("one of RED, BLUE" if name == "enum" else None)


OVERRIDES: list[tuple[Any, Any, Any]] = [
    (1, "3", 3),
    (1, 2.5, 2.5),
    (1, "2.0", 2),
    (0.5, "3", 3.0),
    (0.5, "1e-3", 0.001),
    (True, "false", False),
    (True, "0", False),
    (False, 1, True),
    ("a", 5, "5"),
    ("a", "", ""),
    (3, "", None),
    ([1], "", None),
    ([1], "[4, 5]", [4, 5]),
    ([1], (4, 5), [4, 5]),
    ((1,), [4, 5], (4, 5)),
    ((1,), "[4, 5]", (4, 5)),
    ({}, '{"a": 1}', {"a": 1}),
    (Colour.RED, "BLUE", Colour.BLUE),
    (None, 7, 7),
    (None, "s", "s"),
    (None, None, None),
    (3, "many", 3),
    (Colour.RED, "GREEN", Colour.RED),
    (True, "maybe", True),
]


def test_overrides_take_the_type_of_the_code(replay: Any) -> None:
    """Under an agent a stored value is cast to the type of the code's own; one that does not fit leaves that."""
    code = {f"v{number}": row[0] for number, row in enumerate(OVERRIDES)}
    stored = {f"General/v{number}": row[1] for number, row in enumerate(OVERRIDES)}
    result = replay(lambda task: dict(task.connect(dict(code))), stored)
    for number, (default, override, wanted) in enumerate(OVERRIDES):
        found = result[f"v{number}"]
        assert found == wanted, (default, override)
        assert isinstance(found, type(wanted)), (default, override)


def test_keys_of_the_code_and_of_the_task(replay: Any) -> None:
    """Keys that only the code has are added, keys that only the task has are ignored; nested and integer keys count."""
    seen: list[dict[str, Any]] = []

    def script(task: Task) -> dict[Any, Any]:
        original = {"net": {"depth": 2, "name": "x"}, 5: "five", "plain": 1}
        if not Task.running_locally():
            original["new"] = {"later": 1}
        connected = task.connect(original)
        seen.append(original)
        assert task.get_parameter("General/plain", cast=True) == connected["plain"]
        return dict(connected)

    result = replay(script, {"General/net/depth": 9, "General/5": "cinq", "General/only/stored": 3})
    assert result == {"net": {"depth": 9, "name": "x"}, 5: "cinq", "plain": 1, "new": {"later": 1}}
    assert seen[1] == result  # the script may go on with its own dict, too


def test_objects_are_overridden_in_place(replay: Any) -> None:
    """Attributes of objects, classes, dataclasses (frozen, slotted, nested) and of TaskParameters take stored values."""

    class Plain:
        inherited = 1

        def __init__(self) -> None:
            self.lr = 0.1

    class Holder:
        depth = 3
        _hidden = 1

    @dataclass
    class Inner:
        width: int = 4
        colour: Colour = Colour.RED

    @dataclass
    class Outer:
        inner: Inner = field(default_factory=Inner)
        name: str = "n"
        extra: Inner | None = None

    @dataclass(frozen=True)
    class Frozen:
        x: int = 1

    @dataclass(slots=True)
    class Slotted:
        y: float = 1.0

    class Ranged(TaskParameters):
        iterations = param(type=int, desc="how many", range=(0, 100))
        share = percent_param(desc="of all")

    def script(task: Task) -> tuple[Any, ...]:
        Holder.depth = 3
        plain, outer, frozen, slotted, ranged = Plain(), Outer(), Frozen(), Slotted(), Ranged(iterations=5, share=0.5)
        for name, value in (("p", plain), ("h", Holder), ("o", outer), ("f", frozen), ("s", slotted), ("r", ranged)):
            assert task.connect(value, name=name) is value
        inner = outer.inner
        return (
            plain.lr, plain.inherited, Holder.depth, inner.width, inner.colour, outer.name, frozen.x, slotted.y,
            ranged.iterations, ranged.share,
        )  # fmt: skip

    changed = {
        "p/lr": 0.2, "p/inherited": 2, "h/depth": 4, "o/inner/width": 8, "o/inner/colour": "BLUE", "o/name": "m",
        "f/x": 5, "s/y": 2, "r/iterations": 50, "r/share": 0.75,
    }  # fmt: skip
    assert replay(script, changed) == (0.2, 2, 4, 8, Colour.BLUE, "m", 5, 2.0, 50, 0.75)


def test_parsers_and_namespaces(replay: Any) -> None:
    """A connected parser and a namespace take stored arguments."""

    def script(task: Task) -> tuple[Any, ...]:
        spaces = argparse.Namespace(names=["a"], count=1)
        task.connect(spaces, name="Names")
        return spaces.names, spaces.count

    assert replay(script, {"Names/names": ["b", "c"], "Names/count": 4}) == (["b", "c"], 4)


def test_ignoring_overrides_is_a_stored_flag(replay: Any) -> None:
    """ignore_remote_overrides keeps the code's values, and the flag in the task can be turned round."""

    def script(task: Task) -> Any:
        return task.connect({"x": 1}, name="S", ignore_remote_overrides=True)["x"]

    assert replay(script, {"S/x": 5}) == 1
    assert replay(script, {"S/x": 5, "S/_ignore_remote_overrides_": False}) == 5
    assert (
        replay(lambda task: task.connect({"x": 1}, name="S")["x"], {"S/x": 5, "S/_ignore_remote_overrides_": True}) == 1
    )


def test_writes_after_connecting(task: Task) -> None:
    """Assignments, nested ones, update() and |= of a connected dict are recorded."""
    values = task.connect({"a": 1, "net": {"b": 2}})
    values["a"] = 2
    values["net"]["b"] = 3
    values["net"]["c"] = {"d": 4}
    values["net"]["c"]["d"] = 5
    values |= {"e": 6}
    values.update({"f": 7})
    assert task.get_parameters(cast=True) == {
        "General/a": 2, "General/net/b": 3, "General/net/c/d": 5, "General/e": 6, "General/f": 7,
    }  # fmt: skip


def test_setting_merging_and_deleting(draft: Task) -> None:
    """set_parameters replaces all; update_parameters, set_parameter and set_parameters_as_dict merge."""
    draft.set_parameters({"A/x": 1, "plain": 2}, kw=3)
    assert draft.get_parameters(cast=True) == {"A/x": 1, "General/plain": 2, "General/kw": 3}
    draft.set_parameters({"B/y": 1})
    assert draft.get_parameters(cast=True) == {"B/y": 1}
    draft.update_parameters({"C/z": 1}, B_y=2)
    draft.set_parameters_as_dict({"D": {"deep": {"er": 4}}, "top": 5})
    assert draft.get_parameters(cast=True) == {
        "B/y": 1, "C/z": 1, "General/B_y": 2, "D/deep/er": 4, "General/top": 5,
    }  # fmt: skip
    assert draft.get_parameters_as_dict(cast=True)["D"] == {"deep": {"er": 4}}
    draft.set_parameter("k/v", 3, description="why", value_type=float)
    draft.set_parameter("k/v", 4)
    stored = draft._read().parameters["k/v"]
    assert (stored["value"], stored["description"]) == (4, "why")
    assert draft.get_parameter("top") == "5"
    assert draft.get_parameter("nothing", default="d") == "d"
    assert draft.delete_parameter("k/v")
    assert not draft.delete_parameter("k/v")


def test_texts_that_are_handed_back_keep_types(draft: Task) -> None:
    """Texts of get_parameters, one of them changed, leave types and descriptions as they were."""
    draft.set_parameters(
        {"a": 1, "b": 0.5, "n": None, "none": None, "l": [1], "t": (1, "x"), "on": True, "s": "7", "inf": math.inf}
    )
    draft.set_parameter("d", 3, description="why")
    before = draft.get_parameters(cast=True)
    texts = draft.get_parameters()
    draft.set_parameters({**texts, "General/b": "0.7", "General/n": "5", "General/on": "false"})
    changed = {"General/b": 0.7, "General/n": "5", "General/on": False}
    assert repr(draft.get_parameters(cast=True)) == repr({**before, **changed})
    assert draft._read().parameters["General/d"]["description"] == "why"
    draft.update_parameters({"General/a": "x", "General/b": 9, "General/l": "[2]", "General/s": "8"})
    draft.set_parameter("t", "[2]")
    found = draft.get_parameters(cast=True)
    assert [found[f"General/{name}"] for name in "abstl"] == ["x", 9, "8", (2,), [2]]
    draft.set_parameter("l", "[3]", value_type=str)
    assert draft.get_parameter("l", cast=True) == "[3]"
    draft.set_parameter("Args/layers", [1, 2], value_type=int)
    draft.update_parameters({"Args/layers": "4 5"})
    assert draft.get_parameter("Args/layers", cast=True) == "4 5"  # the parser splits it, as on its command line


def test_overrides_typed_by_a_person(draft: Task) -> None:
    """What the command line sets takes the type that the parameter has."""
    draft.set_parameters({"Args/lr": 0.1, "Args/n": 1, "Args/on": True, "Args/l": [1], "Args/t": (1,), "Args/s": "a"})
    typed = [("lr", "1"), ("n", "2"), ("on", "no"), ("l", "[3]"), ("t", "[4]"), ("s", "5")]
    tasks.edit(draft._ctx, draft.id, lambda record: service.override(record, typed), "set")
    assert draft.get_parameters_as_dict(cast=True)["Args"] == {
        "lr": 1.0, "n": 2, "on": False, "l": [3], "t": (4,), "s": "5",
    }  # fmt: skip


def test_configuration_dicts(start: Callable[..., Task], resume: Callable[[Task], Task]) -> None:
    """A connected configuration records later writes; under an agent the script's own dict and list are refilled."""
    task = start()
    config = task.connect_configuration({"a": 1, "net": {"sizes": (1, 2)}}, name="model", description="d")
    config["b"] = None
    config["net"]["sizes"] = (3,)
    task.connect_configuration([1, {"x": 2}], name="list")
    assert task.get_configuration_object_as_dict("model") == {"a": 1, "net": {"sizes": (3,)}, "b": None}
    task.close()
    draft = Task.clone(task)
    draft.set_configuration_object("model", config_text="a: 5\nnet: {sizes: [9]}", config_type="yaml")
    draft.set_configuration_object("list", config_dict=[7])
    remote = resume(draft)
    own: dict[str, Any] = {"a": 1}
    numbers = [0]
    assert remote.connect_configuration(own, name="model") is own
    assert own == {"a": 5, "net": {"sizes": [9]}}
    assert remote.connect_configuration(numbers, name="list") is numbers
    assert numbers == [7]
    assert remote.connect_configuration({"new": 1}, name="fresh") == {"new": 1}
    assert remote.get_configuration_object_as_dict("fresh") == {"new": 1}
    assert remote.connect_configuration({"a": 0}, name="model", ignore_remote_overrides=True) == {"a": 0}
    remote.close()


def test_configuration_that_does_not_read(
    start: Callable[..., Task], resume: Callable[[Task], Task], capsys: pytest.CaptureFixture[str]
) -> None:
    """A configuration that a person broke leaves the code's own, and says so."""
    task = start()
    task.connect_configuration({"a": 1}, name="model")
    task.close()
    draft = Task.clone(task)
    draft.set_configuration_object("model", config_text="a: [1")
    remote = resume(draft)
    assert remote.connect_configuration({"a": 1}, name="model") == {"a": 1}
    assert "does not read as a dict" in capsys.readouterr().err
    remote.close()


def test_configuration_files(start: Callable[..., Task], resume: Callable[[Task], Task], tmp_path: Path) -> None:
    """A file's text and suffix are kept; an agent's run gets a file of the stored text, as a path of the same kind."""
    path = tmp_path / "c.yaml"
    path.write_text("a: 1\n")
    task = start()
    assert task.connect_configuration(str(path), name="file") == str(path)
    task.close()
    draft = Task.clone(task)
    assert draft._read().configuration["file"]["type"] == ".yaml"
    draft.set_configuration_object("file", config_text="a: 2\n", config_type=".yaml")
    remote = resume(draft)
    text = remote.connect_configuration(str(path), name="file")
    assert isinstance(text, str)
    assert (Path(text).read_text(), Path(text).suffix) == ("a: 2\n", ".yaml")
    assert isinstance(remote.connect_configuration(path, name="file"), Path)
    assert path.read_text() == "a: 1\n"
    remote.close()
    with pytest.raises(InvalidValueError):
        Task.create(project_name="p", task_name="x").connect_configuration(tmp_path / "none.yaml")


def test_configuration_objects(draft: Task) -> None:
    """Exactly one of text and dict; texts read as JSON or YAML; missing ones are None."""
    draft.set_configuration_object("t", config_text="a: 1\nb: [1, 2]", config_type="yaml")
    draft.set_configuration_object("d", config_dict={"a": {"b": None}})
    assert draft.get_configuration_object("t") == "a: 1\nb: [1, 2]"
    assert draft.get_configuration_object_as_dict("t") == {"a": 1, "b": [1, 2]}
    assert draft.get_configuration_object_as_dict("d") == {"a": {"b": None}}
    assert (draft.get_configuration_object("no"), draft.get_configuration_object_as_dict("no")) == (None, None)
    assert sorted(draft.get_configuration_objects()) == ["d", "t"]
    for wrong in ({}, {"config_text": "x", "config_dict": {}}):
        with pytest.raises(InvalidValueError):
            draft.set_configuration_object("e", **wrong)


def test_user_properties_of_every_form(task: Task) -> None:
    """Keywords, dicts, lists and dicts with value and description; after the run as well."""
    task.set_user_properties(a=1, b={"value": 2, "type": "int", "description": "d"})
    task.set_user_properties({"c": 2.5}, [{"name": "d", "value": [1]}])
    task.close()
    task.set_user_properties(late=True)
    assert task.get_user_properties(value_only=True) == {"a": 1, "b": 2, "c": 2.5, "d": [1], "late": True}
    assert task.get_user_properties()["b"]["description"] == "d"
    task.delete_user_properties([("properties", "a"), {"section": "properties", "name": "b"}])
    assert sorted(task.get_user_properties()) == ["c", "d", "late"]


def test_labels(start: Callable[..., Task], resume: Callable[[Task], Task]) -> None:
    """Labels are texts to integers; under an agent the stored ones win."""
    task = start()
    assert task.connect_label_enumeration({"cat": 1}) == {"cat": 1}
    with pytest.raises(ValueError):
        task.connect_label_enumeration({"cat": "one"})  # type: ignore[dict-item]
    task.close()
    remote = resume(Task.clone(task))
    assert remote.connect_label_enumeration({"dog": 2}) == {"cat": 1}
    assert remote.connect_label_enumeration({"dog": 2}, ignore_remote_overrides=True) == {"dog": 2}
    remote.close()


def test_recorded_environment(
    start: Callable[..., Task], resume: Callable[[Task], Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variables that settings name are recorded in Environment, and an agent's run gets them back, edited too."""
    monkeypatch.setenv("LOCALTRACK_LOG_ENVIRONMENT", "MY_*, OTHER")
    for name, value in (("MY_ONE", "1"), ("OTHER", "o"), ("FOREIGN", "f")):
        monkeypatch.setenv(name, value)
    task = start()
    task.close()
    assert task.get_parameters_as_dict()["Environment"] == {"MY_ONE": "1", "OTHER": "o"}
    draft = Task.clone(task)
    draft.update_parameters(
        {"Environment/MY_ONE": "2", "Environment/LOCALTRACK_ROOT": "/nowhere", "Environment/BAD=": "x"}
    )
    monkeypatch.setenv("MY_ONE", "here")
    resume(draft).close()
    assert os.environ["MY_ONE"] == "2"
    assert os.environ["LOCALTRACK_ROOT"] != "/nowhere"


def test_what_has_no_values_is_refused(task: Task) -> None:
    """Numbers, lists and None are no sets of parameters."""
    for wrong in (3, [1, 2], None, "text"):
        with pytest.raises(InvalidValueError):
            task.connect(wrong)
