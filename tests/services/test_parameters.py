"""Parameters, configuration objects and properties of a task."""

from __future__ import annotations

import math

import pytest

from localtrack.errors import CorruptFileError, InvalidValueError, NotEditableError
from localtrack.records.parameters import entry, flatten
from localtrack.records.status import Status
from localtrack.records.task import TaskRecord
from localtrack.services import lifecycle, parameters, tasks
from localtrack.services.context import StoreContext

RECORD = TaskRecord("0" * 32, "n", "p", parameters={
    **flatten({"lr": 0.1, "n": 3, "flag": True, "name": "adam", "none": None, "list": [1, 2]}, "Args"),
    **flatten({"lr": 0.5, "only": 1}, "General"),
})  # fmt: skip


def test_forms_of_arguments() -> None:
    """Dicts, nested or flat, and keywords give the same entries; later ones win."""
    found = parameters.entries_of({"a": 1, "Args/b": 2}, {"net": {"depth": 3}, "Args/c": {"d": 4}}, a=5)

    assert {key: stored["value"] for key, stored in found.items()} == {
        "General/a": 5, "Args/b": 2, "General/net/depth": 3, "Args/c/d": 4,
    }  # fmt: skip
    assert set(parameters.sections_of({"S": {"a": {"b": 1}}, "c": 2})) == {"S/a/b", "General/c"}  # type: ignore[dict-item]


def test_reading_back() -> None:
    """Text for those who ask for text, values for those who ask for values."""
    assert parameters.as_texts(RECORD)["Args/none"] == ""
    assert parameters.as_values(RECORD)["Args/list"] == [1, 2]
    assert parameters.as_nested(RECORD, cast=True)["General"] == {"lr": 0.5, "only": 1}


def test_merging_keeps_descriptions() -> None:
    """A new value keeps the description that is there; nothing new means the same record."""
    record = parameters.merged(RECORD, {"Args/lr": entry(0.2, "rate")})
    record = parameters.merged(record, {"Args/lr": entry(0.3)})

    assert record.parameters["Args/lr"] == {"value": 0.3, "type": "float", "description": "rate"}
    assert parameters.merged(record, {"Args/lr": entry(0.3)}) is record


def test_typed_overrides() -> None:
    """What a person types takes the parameter's type; a name without a section finds its only bearer."""
    record = parameters.override(
        RECORD, [("Args/lr", "inf"), ("n", "7"), ("flag", "off"), ("list", "[3]"), ("new", "x")]
    )
    values = parameters.as_values(record)

    assert (values["Args/lr"], values["Args/n"], values["Args/flag"], values["Args/list"]) == (math.inf, 7, False, [3])
    assert values["General/new"] == "x"
    with pytest.raises(InvalidValueError, match="may be Args/lr or General/lr"):
        parameters.override(RECORD, [("lr", "1")])
    with pytest.raises(InvalidValueError, match="'Args/n' is a int"):
        parameters.override(RECORD, [("n", "many")])


def test_configuration_objects(ctx: StoreContext) -> None:
    """Their text lies in a file named by content, is checked, and can be changed in a draft."""
    folder, record = tasks.create(ctx, name="run", project="p")
    text = parameters.dump_configuration({"a": [1, (2,)], "é": math.nan})
    store = parameters.with_configuration(ctx, folder, "my model/../x", text, "dictionary", "d")
    record = tasks.edit(ctx, record.id, store, "configuration")
    stored = record.configuration["my model/../x"]

    assert repr(
        parameters.parse_configuration(parameters.configuration_text(folder, record, "my model/../x") or "")
    ) == ("{'a': [1, (2,)], 'é': nan}")
    assert stored["file"].startswith("configuration/my-model-x-")
    assert parameters.configuration_text(folder, record, "other") is None
    (folder / stored["file"]).write_text("{}")
    with pytest.raises(CorruptFileError, match="does not match its checksum"):
        parameters.configuration_text(folder, record, "my model/../x")
    assert parameters.parse_configuration("not json") == "not json"
    with pytest.raises(InvalidValueError, match="can't be stored"):
        parameters.dump_configuration(object())
    lifecycle.change_status(ctx, record.id, Status.COMPLETED, force=True)
    with pytest.raises(NotEditableError):
        tasks.edit(ctx, record.id, parameters.with_configuration(ctx, folder, "c", "x", "text", ""), "configuration")
