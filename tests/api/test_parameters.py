"""Parameters, configuration objects and user properties keep their types."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from localtrack import Task
from localtrack.errors import InvalidValueError, NotEditableError


class Colour(Enum):
    RED = 1
    BLUE = 2


VALUES: dict[str, Any] = {
    "int": 1, "float": 2.5, "whole": 2.0, "bool": True, "text": "s", "none": None, "list": [1, 2], "tuple": (1, "x"),
    "empty": {}, "nested": {"a": {"b": 1}, "c": None}, "dicts": [{"k": 1}, 2], "inf": math.inf, "big": 2**70, "": "blank",
}  # fmt: skip


def test_connected_dict_keeps_types(task: Task) -> None:
    """Every value comes back as it was, nested ones under their path."""
    task.connect(dict(VALUES))
    stored = task.get_parameters(cast=True)
    assert stored["General/int"] == 1
    assert stored["General/whole"] == 2.0
    assert isinstance(stored["General/whole"], float)
    assert stored["General/bool"] is True
    assert stored["General/none"] is None
    assert stored["General/tuple"] == (1, "x")
    assert stored["General/empty"] == {}
    assert stored["General/nested/a/b"] == 1
    assert stored["General/big"] == 2**70
    assert stored["General/inf"] == math.inf
    assert task.get_parameters()["General/none"] == ""
    assert task.get_parameters()["General/list"] == "[1, 2]"


def test_connected_dict_writes_back(task: Task) -> None:
    """Later changes are recorded, also nested ones and those of update()."""
    settings = task.connect({"lr": 0.1, "net": {"depth": 2}}, name="Hyper")
    settings["lr"] = 0.2
    settings["net"]["depth"] = 5
    settings.update(extra="x", lr=0.3)
    assert task.get_parameters(cast=True) == {"Hyper/lr": 0.3, "Hyper/net/depth": 5, "Hyper/extra": "x"}
    assert settings == {"lr": 0.3, "net": {"depth": 5}, "extra": "x"}


def test_int_keys_and_nan(task: Task) -> None:
    """Integer keys are no error, NaN stays NaN."""
    connected = task.connect({1: "one", "nan": math.nan})
    assert connected[1] == "one"
    stored = task.get_parameters(cast=True)
    assert stored["General/1"] == "one"
    assert math.isnan(stored["General/nan"])


def test_objects_classes_and_enums(task: Task) -> None:
    """Attributes of an instance with those of its class, of a class, of a dataclass; an Enum by its name."""

    class Base:
        inherited = 1

    class Settings(Base):
        lr = 0.1
        _hidden = 2

        def method(self) -> None: ...

    @dataclass
    class Data:
        x: int = 3
        colour: Colour = Colour.RED

    settings = Settings()
    settings.own = "o"  # type: ignore[attr-defined]
    task.connect(settings, name="obj")
    task.connect(Settings, name="cls")
    task.connect(Data(), name="data")
    assert task.get_parameters(cast=True) == {
        "obj/inherited": 1, "obj/lr": 0.1, "obj/own": "o", "cls/inherited": 1, "cls/lr": 0.1, "data/x": 3,
        "data/colour": "RED",
    }  # fmt: skip


def test_connect_refuses_what_has_no_values(task: Task) -> None:
    """A number is no set of parameters."""
    with pytest.raises(InvalidValueError, match="int"):
        task.connect(3)


def test_argparse_namespace_and_parser(task: Task) -> None:
    """A Namespace goes to Args; a parser that never parsed is recorded by its defaults."""
    task.connect(argparse.Namespace(lr=0.1, names=["a"]))
    parser = argparse.ArgumentParser()
    parser.add_argument("--depth", type=int, default=3)
    assert task.connect(parser) is parser
    assert task.get_parameters(cast=True) == {"Args/lr": 0.1, "Args/names": ["a"], "Args/depth": 3}


def test_set_replaces_update_merges(draft: Task) -> None:
    """set_parameters replaces every section, update_parameters keeps the others."""
    draft.set_parameters({"Args/a": 1}, b=2)
    draft.update_parameters({"Args/a": 3, "c": 4})
    assert draft.get_parameters(cast=True) == {"Args/a": 3, "General/b": 2, "General/c": 4}
    draft.set_parameters({"x/y": 1})
    assert draft.get_parameters(cast=True) == {"x/y": 1}
    draft.set_parameter("x/y", 2, description="why")
    assert draft.get_parameter("x/y", cast=True) == 2
    assert draft.get_parameter("nothing", default=7) == 7
    assert draft.get_parameters_as_dict(cast=True) == {"x": {"y": 2}}
    assert draft.delete_parameter("x/y") is True
    assert draft.get_parameters() == {}


def test_only_drafts_are_editable(task: Task) -> None:
    """An ended task's inputs can't be changed; its tags, comment and properties can."""
    task.set_parameter("Args/a", 1)
    task.close()
    with pytest.raises(NotEditableError, match="completed"):
        task.set_parameter("Args/a", 2)
    with pytest.raises(NotEditableError, match="clone"):
        task.set_configuration_object("c", config_text="x")
    task.set_comment("still")
    task.add_tags("later")
    task.set_user_properties(seen=True)
    assert task.comment == "still"


def test_configuration_dict_and_file(task: Task, tmp_path: Path) -> None:
    """Dicts keep their types, files their text; a missing file is named."""
    config = {"a": (1, 2), "b": {1: "x"}, "n": None}
    assert task.connect_configuration(config, name="dict") == config
    assert task.get_configuration_object_as_dict("dict") == config
    path = tmp_path / "c.yaml"
    path.write_text("lr: 0.1\n")
    assert task.connect_configuration(path, name="file") == path
    assert task.connect_configuration(str(path)) == str(path)
    assert task.get_configuration_object("file") == "lr: 0.1\n"
    assert sorted(task.get_configuration_objects()) == ["General", "dict", "file"]
    with pytest.raises(InvalidValueError, match=r"missing\.yaml"):
        task.connect_configuration(tmp_path / "missing.yaml")


def test_user_properties(task: Task) -> None:
    """Keywords, dicts and lists; typed values; removal."""
    task.set_user_properties({"a": 1}, b="x")
    task.set_user_properties([{"name": "c", "value": 2.5, "description": "d"}])
    assert task.get_user_properties(value_only=True) == {"a": 1, "b": "x", "c": 2.5}
    assert task.get_user_properties()["c"]["description"] == "d"
    task.delete_user_properties([("properties", "a")])
    assert sorted(task.get_user_properties()) == ["b", "c"]


def test_user_properties_are_among_the_parameters(draft: Task) -> None:
    """What get_parameters hands out can be handed to another task: properties stay properties."""
    draft.set_user_properties(owner="ann", runs=3)
    draft.set_parameter("Args/lr", 0.5)
    assert draft.get_parameters(cast=True) == {"Args/lr": 0.5, "properties/owner": "ann", "properties/runs": 3}
    assert draft.get_parameters_as_dict()["properties"] == {"owner": "ann", "runs": "3"}
    draft.set_parameters({"Args/lr": 1, "properties/owner": "bob"})
    assert draft.get_parameters(cast=True) == {"Args/lr": 1, "properties/owner": "bob", "properties/runs": 3}
    assert draft.get_user_properties(value_only=True) == {"owner": "bob", "runs": 3}


def test_labels(task: Task) -> None:
    """Label numbers come back."""
    task.connect_label_enumeration({"cat": 0, "dog": 1})
    assert task.get_labels_enumeration() == {"cat": 0, "dog": 1}
