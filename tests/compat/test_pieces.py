"""The small things that clients of ClearML reach for, each as they call it."""

from __future__ import annotations

from typing import Any

import numpy
import pytest

from localtrack import Task
from localtrack.compat.frameworks import WeightsGradientHistHelper
from localtrack.compat.nested import (
    flatten_dictionary,
    naive_nested_from_flat_dictionary,
    nested_from_flat_dictionary,
)
from localtrack.runtime.weight_callbacks import CallbackType, ModelInfo, WeightsFileHandler
from localtrack.services import parameters, reports, tasks
from localtrack.services.context import StoreContext, open_context
from localtrack.task_parameters import TaskParameters, param, percent_param

NESTED: dict[str, Any] = {"a": 1, "b": {"c": [1, 2], "d": {}, "e": {"f": None}}, 3: "x"}
FLAT = {"a": 1, "b/c": [1, 2], "b/d": {}, "b/e/f": None, "3": "x"}


@pytest.fixture
def task(ctx: StoreContext, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """A task that this process runs."""
    monkeypatch.setenv("LOCALTRACK_ROOT", str(ctx.store.root))
    made = Task.init("p", "n", auto_connect_streams=False, auto_resource_monitoring=False)
    yield made
    made.close()


class Parameters(TaskParameters):
    """As a user declares them."""

    steps = param(type=int, range=(0, 10), desc="how many", default=3)
    accuracy = percent_param(desc="wanted")
    names = param(factory=list)


def test_dictionaries_flatten_and_come_back() -> None:
    """Paths of a nested dictionary are its keys joined; an empty one is kept."""
    assert flatten_dictionary(NESTED) == FLAT
    assert flatten_dictionary(NESTED, prefix="p.", sep=".")["p.b.e.f"] is None
    changed = nested_from_flat_dictionary({"a": 1, "b": {"c": [1, 2], "d": {}}}, {"b/c": [3], "other": 4})
    assert changed == {"a": 1, "b": {"c": [3], "d": {}}}
    assert naive_nested_from_flat_dictionary(FLAT) == {"a": 1, "b": NESTED["b"], "3": "x"}


def test_copied_arguments_form_a_section(task: Task) -> None:
    """`task._arguments.copy_from_dict` adds a section and leaves the others."""
    task.set_parameter("General/kept", 1)
    task._arguments.copy_from_dict({"lr": 0.1, "deep/er": [1], "none": None}, prefix="Transformers")
    assert parameters.as_values(task._read()) == {
        "General/kept": 1, "Transformers/lr": 0.1, "Transformers/deep/er": [1], "Transformers/none": None,
    }  # fmt: skip


def test_declared_parameters_are_checked_and_connected(task: Task) -> None:
    """Types and ranges hold at every assignment; `connect` records the values by both of its spellings."""
    declared = Parameters(accuracy=0.5)
    assert declared.to_dict() == {"steps": 3, "accuracy": 0.5, "names": []}
    with pytest.raises(ValueError, match="range"):
        declared.steps = 11
    with pytest.raises(TypeError, match="int"):
        declared.steps = "4"
    with pytest.raises(TypeError, match="accuracy"):
        Parameters()
    with pytest.raises(TypeError, match="speed"):
        Parameters(accuracy=0.5, speed=1)
    declared.connect(task)
    task.connect(declared, name="Declared")
    values = parameters.as_values(task._read())
    assert values == {f"{where}/{k}": v for where in ("General", "Declared") for k, v in declared.to_dict().items()}


def test_histograms_of_weights_are_plots(task: Task) -> None:
    """The bars of all calls but the skipped ones are reported, with counts that add up; NaN is left out."""
    helper = WeightsGradientHistHelper(logger=task.get_logger(), report_freq=2)
    data = numpy.array([[0.0, 1.0, float("nan"), 2.0]])
    for step in range(3):
        helper.add_histogram(title="weights_fc", series="bias", step=step, hist_data=data)
    helper.add_histogram("counted", "bars", 7, [[0.0, 1.0, 4], [1.0, 2.0, 6]])
    task.flush()
    found, _ = reports.plots(tasks.folder_of(open_context(), task.id))
    by_place = {(plot["title"], plot["series"], plot["iteration"]): plot["figure"]["data"][0]["y"] for plot in found}
    assert set(by_place) == {("weights_fc", "bias", 0), ("weights_fc", "bias", 2), ("counted", "bars", 7)}
    assert sum(by_place["weights_fc", "bias", 0]) == 3
    assert by_place["counted", "bars", 7] == [4, 6]


def test_weight_callbacks_change_and_veto() -> None:
    """Callbacks run in order, each on what the last one gave; None ends the recording; a removed one is gone."""

    def rename(action: str, info: ModelInfo) -> ModelInfo:
        assert action == WeightsFileHandler.CallbackType.save
        assert str(action) == "save"
        info.upload_filename = "renamed.pt"
        return info

    info = ModelInfo(None, "a.pt", "/a.pt", "/a.pt", "PyTorch", None)
    first = WeightsFileHandler.add_pre_callback(rename)
    second = WeightsFileHandler.add_pre_callback(lambda action, info: None)
    try:
        assert WeightsFileHandler.add_pre_callback(rename) == first
        assert WeightsFileHandler.run_pre_callbacks(CallbackType.save, info) is None
        assert WeightsFileHandler.remove_pre_callback(second)
        changed = WeightsFileHandler.run_pre_callbacks(CallbackType.save, info)
        assert changed is not None
        assert changed.upload_filename == "renamed.pt"
    finally:
        WeightsFileHandler.remove_pre_callback(second)
        assert WeightsFileHandler.remove_pre_callback(first)
    assert not WeightsFileHandler.remove_pre_callback(first)
    assert WeightsFileHandler.run_post_callbacks(CallbackType.save, info) is info
