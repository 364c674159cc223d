"""A script that imports from ClearML's modules needs only its import lines changed: the same modules are in localtrack."""

from __future__ import annotations

from importlib import import_module

import pytest

from localtrack.config import running_remotely

NAMES = {
    "task": ("Task", "TaskTypes"),
    "logger": ("Logger",),
    "model": ("InputModel", "Model", "OutputModel"),
    "storage": ("StorageManager",),
    "storage.manager": ("StorageManager",),
    "utilities.plotly_reporter": ("SeriesInfo",),
    "utilities.proxy_object": ("flatten_dictionary", "nested_from_flat_dictionary"),
    "task_parameters": ("TaskParameters", "param", "percent_param"),
    "config": ("running_remotely",),
    "errors": ("UsageError",),
    "automation": ("HyperParameterOptimizer", "PipelineController", "TaskScheduler", "TriggerScheduler"),
    "automation.controller": ("PipelineController", "PipelineDecorator"),
}


@pytest.mark.parametrize("module", NAMES)
def test_a_module_of_clearml_is_here_under_its_name(module: str) -> None:
    """With the names that scripts import from it; those of ``localtrack`` itself are the same objects."""
    import localtrack

    found = import_module(f"localtrack.{module}")
    for name in NAMES[module]:
        value = getattr(found, name)
        if name in localtrack.__all__:
            assert value is getattr(localtrack, name)


@pytest.mark.parametrize(("variable", "expected"), [("", False), ("a" * 32, True)])
def test_running_remotely_tells_whether_an_agent_runs_the_process(
    monkeypatch: pytest.MonkeyPatch, variable: str, expected: bool
) -> None:
    """As Task.running_locally does, the other way round."""
    monkeypatch.setenv("LOCALTRACK_TASK_ID", variable)
    assert running_remotely() is expected
