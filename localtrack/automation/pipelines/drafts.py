"""The task of a step: made, cloned, or an earlier one that stands in for it.

Source: ClearML's PipelineController: tasks of steps, ``cache_executed_step``; docs/how-to/pipelines.md.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localtrack.automation import local_agent
from localtrack.automation.job import BaseJob, ClearmlJob, LocalClearmlJob, RunningJob, find_same
from localtrack.automation.pipelines.node import Node
from localtrack.automation.pipelines.source import make_script
from localtrack.automation.pipelines.step import INPUTS, PLACE_VARIABLE, VALUES
from localtrack.capture.clearml_package import is_answered
from localtrack.errors import InvalidValueError, TaskNotFoundError
from localtrack.records.digests import hex_sha256
from localtrack.records.ids import slug
from localtrack.records.plain import replace
from localtrack.records.status import Status
from localtrack.records.task import TaskRecord
from localtrack.records.values import encode
from localtrack.runtime.starter import script_fields
from localtrack.services import tasks
from localtrack.services.context import StoreContext, open_context
from localtrack.store.blobs import put_content

if TYPE_CHECKING:
    from localtrack.api.task import Task

HASH_KEY = "pipeline_step_hash"
_SCALARS = (type(None), bool, int, float, str)


@dataclass(frozen=True)
class FunctionPlan:
    """How the task of a step that is a function is made.

    Attributes:
        function: the function.
        returns: names of what it returns.
        helpers: functions that go with it.
        task_type: type of the task.
        project: project of the task; the pipeline's without one.
        task_name: name of the task; the step's without one.
        tags: of the task.
        packages: kept with the task.
        repo: repository that the step runs in.
        branch: its branch.
        commit: its commit.
        working_dir: folder in it.
        docker: kept with the task: image, arguments, setup script.
        frameworks: ``auto_connect_frameworks`` of the step.
        parser: ``auto_connect_arg_parser`` of the step.
        serialize: turns what is returned into bytes.
        deserialize: turns them back.
        with_imports: whether imports of the module go with the function.
    """

    function: Callable[..., Any]
    returns: tuple[str, ...]
    helpers: tuple[Callable[..., Any], ...] = ()
    task_type: str | None = None
    project: str | None = None
    task_name: str | None = None
    tags: tuple[str, ...] = ()
    packages: Any = None
    repo: str | None = None
    branch: str | None = None
    commit: str | None = None
    working_dir: str | None = None
    docker: Mapping[str, Any] = field(default_factory=dict)
    frameworks: Mapping[str, Any] | bool | None = None
    parser: Mapping[str, bool] | bool | None = None
    serialize: Callable[..., Any] | None = None
    deserialize: Callable[..., Any] | None = None
    with_imports: bool = True

    def script(self) -> str:
        """Return the script of the step.

        Raises:
            InvalidValueError: the function has no source.
        """
        options = ""
        helpers = list(self.helpers)
        for name, function in (("serialize", self.serialize), ("deserialize", self.deserialize)):
            if function is not None:
                helpers.append(function)
                options += f", {name}={function.__name__}"
        if self.frameworks is not None:
            options += f", frameworks={self.frameworks!r}"
        if self.parser is not None:
            options += f", parser={self.parser!r}"
        return make_script(self.function, self.returns, helpers, with_imports=self.with_imports, options=options)


class LocalStepJob(LocalClearmlJob):
    """A step that this machine runs, in the folder where the pipeline was started."""

    place: dict[str, Any] | None = None

    def launch(self, queue_name: str | None = None) -> bool:
        """Start the task in a process of its own; see :class:`LocalClearmlJob`."""
        if self.record().state is not Status.CREATED:
            return False
        more = {} if self.place is None else {PLACE_VARIABLE: json.dumps(self.place)}
        self._agent = local_agent.launch(self._ctx, self.task.id, more)
        return True


class CachedJob(RunningJob):
    """An earlier run that stands in for a step."""

    def is_cached_task(self) -> bool:
        """Tell whether the task is an earlier run: it is."""
        return True


@dataclass(frozen=True)
class Surroundings:
    """What steps get from their pipeline.

    Attributes:
        task: the pipeline's task.
        local: whether this machine runs the steps.
        target_project: project of clones; True for the pipeline's.
        tags: tags of all steps.
        local_imports: whether steps find the modules beside the pipeline's script.
    """

    task: Task
    local: bool
    target_project: str | bool | None
    tags: tuple[str, ...]
    local_imports: bool


def is_parameter(value: Any) -> bool:
    """Tell whether a value is kept as a parameter and comes back as it was; others are kept as artifacts."""
    if type(value) in _SCALARS:
        return True
    if type(value) in (list, tuple):
        return all(is_parameter(one) for one in value)
    if type(value) is dict:
        return all(type(key) is str and key and "/" not in key and is_parameter(one) for key, one in value.items())
    return False


def make_job(node: Node, parameters: dict[str, Any], around: Surroundings) -> BaseJob:
    """Return the job of a step: its task as a draft, or an earlier run.

    Args:
        node: the step.
        parameters: its parameters, references replaced.
        around: what it gets from the pipeline.

    Raises:
        LocaltrackError: the task can't be made; says why.
    """
    ctx = open_context()
    if node._plan is not None:
        return _function_job(ctx, node, node._plan, parameters, around)
    if node.task_factory_func is not None:
        made = node.task_factory_func(node)
        if made is None:
            raise InvalidValueError(f"step {node.name!r}: base_task_factory returned no task")
        return _job(around, made.id, node, parameters, is_itself=True)
    if not node.base_task_id:
        raise InvalidValueError(f"step {node.name!r} has no base task")
    base = tasks.read(ctx, node.base_task_id)
    key = ""
    if node.cache_executed_step and node.clone_task:
        key = _hash(ctx, {
            "script": {name: base.script.get(name) for name in ("repository", "root", "commit", "entry_point", "working_dir", "diff", "source")},
            "parameters": {**{name: repr(one) for name, one in base.parameters.items()}, **_comparable(ctx, parameters)},
            "configuration": {**{name: repr(one) for name, one in base.configuration.items()}, **node.configurations},
            "container": base.container, "overrides": node.task_overrides,
        })  # fmt: skip
        found = find_same(ctx, HASH_KEY, key, node.name)
        if found:
            return CachedJob(found)
    return _job(around, node.base_task_id, node, parameters, is_itself=not node.clone_task, key=key)


def _job(
    around: Surroundings, base: str, node: Node, parameters: dict[str, Any], *, is_itself: bool, key: str = ""
) -> BaseJob:
    """Return a job for a clone of a task, or for the task itself."""
    target = around.target_project
    project = around.task.get_project_name() if target is True else target or None
    kind = LocalStepJob if around.local else ClearmlJob
    job = kind(
        base, parameter_override=parameters, task_overrides=node.task_overrides,
        configuration_overrides=node.configurations, tags=list(around.tags), parent=around.task.id,
        disable_clone_task=is_itself, target_project=project, output_uri=node.output_uri, name=node.name,
    )  # fmt: skip
    job.task.set_parent(around.task.id)
    if key:
        _remember(job._ctx, job.task_id(), key)
    return job


def _function_job(
    ctx: StoreContext, node: Node, plan: FunctionPlan, parameters: dict[str, Any], around: Surroundings
) -> BaseJob:
    script = plan.script()
    fields = script_fields(
        plan.repo or None, plan.branch, plan.commit, f"{slug(node.name) or 'step'}.py", plan.working_dir, None
    )
    fields["as_clearml"] = is_answered()
    container = {
        **{name: value for name, value in plan.docker.items() if value},
        **({"packages": plan.packages} if plan.packages not in (None, True) else {}),
    }
    key = ""
    if node.cache_executed_step:
        about = {"script": script, "parameters": _comparable(ctx, parameters), "container": container}
        key = _hash(ctx, {**about, "repository": {name: fields[name] for name in ("repository", "root", "commit")}})
        found = find_same(ctx, HASH_KEY, key, plan.task_name or node.name)
        if found:
            return CachedJob(found)
    folder, record = tasks.create(
        ctx, name=plan.task_name or node.name, project=plan.project or _project(around), task_type=plan.task_type,
        parent=around.task.id, script=fields, container=container, tags=tuple(dict.fromkeys((*plan.tags, *around.tags))),
    )  # fmt: skip
    stored = put_content(ctx.store.disk, folder, "code", "script", ".py", script.encode()).to_json()
    tasks.edit(ctx, record.id, lambda one: replace(one, script={**one.script, "source": stored}), "script")
    kind = LocalStepJob if around.local else ClearmlJob
    job = kind(
        record.id, parameter_override=parameters, task_overrides=node.task_overrides,
        configuration_overrides=node.configurations, disable_clone_task=True, output_uri=node.output_uri,
    )  # fmt: skip
    if isinstance(job, LocalStepJob) and not plan.repo:
        job.place = _place(around.local_imports)
    if key:
        _remember(ctx, record.id, key)
    return job


def _project(around: Surroundings) -> str:
    target = around.target_project
    return target if isinstance(target, str) and target else around.task.get_project_name()


def _place(local_imports: bool) -> dict[str, Any]:
    """Return where the pipeline runs, for steps on this machine."""
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    path = [str(Path(main).resolve().parent)] if main else []
    return {"folder": os.getcwd(), "path": [*path, os.getcwd()] if local_imports else []}


def parameters_of(values: Mapping[str, Any], inputs: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments of a function as the parameters of its step: values, and artifacts that are loaded."""
    return {
        **{f"{VALUES}/{name}": value for name, value in values.items()},
        **{f"{INPUTS}/{name}": reference for name, reference in inputs.items()},
    }


def _comparable(ctx: StoreContext, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters with each artifact named by what it holds, so that the same data count as the same."""
    return {
        name: _content_of(ctx, value) if name.startswith(f"{INPUTS}/") else value for name, value in parameters.items()
    }


def _content_of(ctx: StoreContext, reference: str) -> str:
    task_id, _, name = str(reference).partition(".")
    try:
        entry = tasks.read(ctx, task_id).artifacts.get(name, {})
    except TaskNotFoundError:
        return reference
    return str(entry.get("sha256") or "") or reference


def _hash(ctx: StoreContext, about: Mapping[str, Any]) -> str:
    text = json.dumps(encode(about, other_as_text=True), sort_keys=True)
    return hex_sha256(text.encode())


def _remember(ctx: StoreContext, task_id: str, key: str) -> None:
    def change(record: TaskRecord) -> TaskRecord:
        return replace(record, runtime={**record.runtime, HASH_KEY: key})

    tasks.edit(ctx, task_id, change, "step hash", checked=False)
