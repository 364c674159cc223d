"""What a pipeline consists of: parameters and steps, checked when they are added and once more before the start.

Source: ClearML's PipelineController.add_parameter, add_step, add_function_step.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from localtrack.automation.pipelines.drafts import FunctionPlan, is_parameter, parameters_of
from localtrack.automation.pipelines.node import Node
from localtrack.automation.pipelines.references import (
    PIPELINE,
    REFERENCE,
    check_kind,
    find_references,
    split_reference,
)
from localtrack.automation.pipelines.source import innermost
from localtrack.automation.pipelines.step import INPUTS, VALUES
from localtrack.errors import InvalidValueError, TaskNotFoundError

if TYPE_CHECKING:
    from localtrack.api.task import Task
    from localtrack.automation.pipelines.controller import PipelineController

ARGUMENTS = "Args"


class Definition:
    """Parameters and steps of a pipeline."""

    _task: Task

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._parameters: dict[str, Any] = {}
        self._descriptions: dict[str, str] = {}
        self._types: dict[str, str] = {}
        self._pre_callbacks: dict[str, Callable[..., Any]] = {}
        self._post_callbacks: dict[str, Callable[..., Any]] = {}
        self._status_callbacks: dict[str, Callable[..., Any]] = {}
        self._retries: dict[str, Any] = {}
        self._defaults: dict[str, Any] = {}
        self._default_queue: str | None = None

    def set_default_execution_queue(self, default_execution_queue: str | None) -> None:
        """Set the queue of the steps that name none."""
        self._default_queue = default_execution_queue

    def add_parameter(
        self, name: str, default: Any = None, description: str | None = None, param_type: str | None = None
    ) -> None:
        """Add a parameter, to which steps refer as ``${pipeline.NAME}``.

        Args:
            name: its name.
            default: its value, unless the pipeline's task holds another one.
            description: kept with it.
            param_type: kept for ClearML's signature: values keep their own types.
        """
        self._parameters[str(name)] = default
        if description:
            self._descriptions[str(name)] = str(description)
        if param_type:
            self._types[str(name)] = getattr(param_type, "__name__", str(param_type))

    def get_parameters(self) -> dict[str, Any]:
        """Return the pipeline's parameters as they are now."""
        return dict(self._parameters)

    def add_step(
        self,
        name: str,
        base_task_id: str | None = None,
        parents: Sequence[str] | None = None,
        parameter_override: Mapping[str, Any] | None = None,
        configuration_overrides: Mapping[str, str | Mapping[str, Any]] | None = None,
        task_overrides: Mapping[str, Any] | None = None,
        execution_queue: str | None = None,
        monitor_metrics: list[Any] | None = None,
        monitor_artifacts: list[Any] | None = None,
        monitor_models: list[Any] | None = None,
        time_limit: float | None = None,
        base_task_project: str | None = None,
        base_task_name: str | None = None,
        clone_base_task: bool = True,
        continue_on_fail: bool = False,
        pre_execute_callback: Callable[[PipelineController, Node, dict[str, Any]], bool] | None = None,
        post_execute_callback: Callable[[PipelineController, Node], None] | None = None,
        cache_executed_step: bool = False,
        base_task_factory: Callable[[Node], Task] | None = None,
        retry_on_failure: int | Callable[[PipelineController, Node, int], bool] | None = None,
        status_change_callback: Callable[[PipelineController, Node, str], None] | None = None,
        recursively_parse_parameters: bool = False,
        output_uri: str | bool | None = None,
        continue_behaviour: dict[str, bool] | None = None,
        stage: str | None = None,
    ) -> bool:
        """Add a step that runs a clone of a task.

        Args:
            name: the step's name.
            base_task_id: the task to clone.
            parents: steps that must have ended before; those that the step refers to are added.
            parameter_override: parameters by ``Section/name``: values, or texts with references such as
                ``${step.artifacts.data.url}``, ``${step.parameters.Args/lr}``, ``${step.models.output.-1.url}``,
                ``${step.id}``, ``${pipeline.name}``.
            configuration_overrides: configuration objects by name: dicts or texts.
            task_overrides: other fields by dotted name, such as ``script.branch``; references count.
            execution_queue: where the step waits; the pipeline's default without one.
            monitor_metrics: ``(title, series)`` to repeat in the pipeline's task, or pairs of these with new names.
            monitor_artifacts: names of artifacts to repeat there, or pairs with new names.
            monitor_models: names of output models to repeat there, or pairs with new names.
            time_limit: seconds that the step may run; then it is aborted, and has failed.
            base_task_project: project of the task to clone, instead of its id.
            base_task_name: its name.
            clone_base_task: False runs the task itself, which must be a draft.
            continue_on_fail: the pipeline may succeed though this step fails; steps after it are skipped.
            pre_execute_callback: called with pipeline, step and parameters before the start; False skips the step.
            post_execute_callback: called with pipeline and step when it has ended.
            cache_executed_step: let an earlier run with the same code and inputs stand in.
            base_task_factory: makes the task of the step, instead of a base task.
            retry_on_failure: how often a failed step is run again; or asked with pipeline, step and retries so far.
            status_change_callback: called with pipeline, step and the status before.
            recursively_parse_parameters: references inside lists and dicts count as well.
            output_uri: where the step's models go.
            continue_behaviour: a dict of ``continue_on_fail``, ``continue_on_abort``, ``skip_children_on_fail``,
                ``skip_children_on_abort``; what it leaves out is True.
            stage: a name of a group of steps, shown with the step.

        Returns:
            True.

        Raises:
            InvalidValueError: a name that is taken, no base task, or a reference that means nothing.
            TaskNotFoundError: no such base task.
        """
        options = dict(locals())
        self._check_name(name)
        if base_task_factory is None:
            base_task_id = _base_task(name, base_task_id, base_task_project, base_task_name)
        elif base_task_id or base_task_name or base_task_project:
            raise InvalidValueError(f"step {name!r}: base_task_factory makes the task; name no base task besides it")
        node = Node(
            name, base_task_id, base_task_factory, execution_queue, list(parents or ()), time_limit,
            dict(parameter_override or {}), dict(configuration_overrides or {}), dict(task_overrides or {}),
            clone_task=clone_base_task, cache_executed_step=cache_executed_step,
            monitor_metrics=list(monitor_metrics or ()), monitor_artifacts=list(monitor_artifacts or ()),
            monitor_models=list(monitor_models or ()), recursively_parse_parameters=recursively_parse_parameters,
            output_uri=output_uri, continue_behaviour=continue_behaviour, continue_on_fail=continue_on_fail, stage=stage,
        )  # fmt: skip
        self._infer_parents(node)
        self._take_callbacks(node.name, options)
        self._nodes[name] = node
        return True

    def add_function_step(
        self,
        name: str,
        function: Callable[..., Any],
        function_kwargs: dict[str, Any] | None = None,
        function_return: list[str] | None = None,
        project_name: str | None = None,
        task_name: str | None = None,
        task_type: str | None = None,
        auto_connect_frameworks: dict[str, Any] | None = None,
        auto_connect_arg_parser: dict[str, bool] | None = None,
        packages: bool | str | Sequence[str] | None = None,
        repo: str | None = None,
        repo_branch: str | None = None,
        repo_commit: str | None = None,
        helper_functions: Sequence[Callable[..., Any]] | None = None,
        docker: str | None = None,
        docker_args: str | None = None,
        docker_bash_setup_script: str | None = None,
        parents: Sequence[str] | None = None,
        execution_queue: str | None = None,
        monitor_metrics: list[Any] | None = None,
        monitor_artifacts: list[Any] | None = None,
        monitor_models: list[Any] | None = None,
        time_limit: float | None = None,
        continue_on_fail: bool = False,
        pre_execute_callback: Callable[[PipelineController, Node, dict[str, Any]], bool] | None = None,
        post_execute_callback: Callable[[PipelineController, Node], None] | None = None,
        cache_executed_step: bool = False,
        retry_on_failure: int | Callable[[PipelineController, Node, int], bool] | None = None,
        status_change_callback: Callable[[PipelineController, Node, str], None] | None = None,
        tags: Sequence[str] | str | None = None,
        output_uri: str | bool | None = None,
        draft: bool | None = False,
        working_dir: str | None = None,
        continue_behaviour: dict[str, bool] | None = None,
        stage: str | None = None,
    ) -> bool:
        """Add a step that calls a function in a task of its own.

        Args:
            name: the step's name.
            function: the function; what it uses of its module goes with it.
            function_kwargs: its arguments: values, ``${step.return}`` for what another step returned,
                ``${pipeline.name}`` for a parameter. Defaults of the function are added.
            function_return: names under which what it returns is kept.
            project_name: project of the step's task; the pipeline's without one.
            task_name: name of the step's task; the step's without one.
            task_type: type of the step's task.
            auto_connect_frameworks: as of ``Task.init``, in the step.
            auto_connect_arg_parser: likewise.
            packages: kept with the task; agents use their own Python.
            repo: repository in which the step runs; by itself, without one.
            repo_branch: its branch.
            repo_commit: its commit.
            helper_functions: functions that go with it, where that can't be seen from its source.
            docker: kept with the task.
            docker_args: likewise.
            docker_bash_setup_script: likewise.
            parents: steps that must have ended before; those that the step refers to are added.
            execution_queue: see :meth:`add_step`, for this and all that follow but the next.
            monitor_metrics: see there.
            monitor_artifacts: see there.
            monitor_models: see there.
            time_limit: see there.
            continue_on_fail: see there.
            pre_execute_callback: see there.
            post_execute_callback: see there.
            cache_executed_step: see there.
            retry_on_failure: see there.
            status_change_callback: see there.
            tags: of the step's task.
            output_uri: see there.
            draft: leave the step's task as a draft, and wait until somebody has run it.
            working_dir: folder in the repository.
            continue_behaviour: see there.
            stage: see there.

        Returns:
            True.

        Raises:
            InvalidValueError: a name that is taken, a function without source, or a reference that means nothing.
        """
        options = dict(locals())
        node = self._function_node(name, function, function_return, options)
        node.parameters = self._function_parameters(node, function_kwargs or {})
        self._infer_parents(node)
        self._take_callbacks(node.name, options)
        self._nodes[name] = node
        return True

    def _function_node(
        self,
        name: str,
        function: Callable[..., Any],
        function_return: Sequence[str] | str | None,
        options: Mapping[str, Any],
    ) -> Node:
        """Return a step that calls a function, without its arguments; the pipeline does not have it yet.

        Args:
            name: the step's name.
            function: the function.
            function_return: names of what it returns.
            options: arguments of :meth:`add_function_step` by name.

        Raises:
            InvalidValueError: a name that is taken, or a function without source.
        """
        self._check_name(name)
        returns = (function_return,) if isinstance(function_return, str) else tuple(function_return or ())
        own, common = options.get, self._defaults.get
        plan = FunctionPlan(
            function, returns, tuple(own("helper_functions") or ()), own("task_type"), own("project_name"),
            own("task_name"), _texts(own("tags")), own("packages") if own("packages") is not None else common("packages"),
            own("repo") or common("repo"), own("repo_branch") or common("repo_branch"),
            own("repo_commit") or common("repo_commit"), own("working_dir") or common("working_dir"),
            {"image": own("docker") or common("docker"), "arguments": own("docker_args") or common("docker_args"),
             "setup_script": own("docker_bash_setup_script") or common("docker_bash_setup_script")},
            own("auto_connect_frameworks"), own("auto_connect_arg_parser"), common("serialize"), common("deserialize"),
            not common("skip_global_imports"),
        )  # fmt: skip
        plan.script()  # what can't be had is said now, and not when the step's turn comes
        return Node(
            name, None, None, own("execution_queue"), list(own("parents") or ()), own("time_limit"),
            cache_executed_step=bool(own("cache_executed_step")), return_artifacts=list(returns),
            monitor_metrics=list(own("monitor_metrics") or ()), monitor_artifacts=list(own("monitor_artifacts") or ()),
            monitor_models=list(own("monitor_models") or ()), output_uri=own("output_uri"), draft=bool(own("draft")),
            continue_behaviour=own("continue_behaviour"), continue_on_fail=bool(own("continue_on_fail")),
            stage=own("stage"), job_type=own("task_type"), job_code_section=innermost(function).__name__,
            explicit_docker_image=own("docker"), _plan=plan,
        )  # fmt: skip

    def _queue_of(self, node: Node) -> str:
        return node.queue or self._default_queue or ""

    def _take_callbacks(self, name: str, options: Mapping[str, Any]) -> None:
        for known, option in (
            (self._pre_callbacks, "pre_execute_callback"), (self._post_callbacks, "post_execute_callback"),
            (self._status_callbacks, "status_change_callback"), (self._retries, "retry_on_failure"),
        ):  # fmt: skip
            if options.get(option) is not None:
                known[name] = options[option]

    def _check_name(self, name: str) -> None:
        if not isinstance(name, str) or not name.strip() or any(sign in name for sign in "${}"):
            raise InvalidValueError(f"a step's name is a text without $, {{ and }}, not {name!r}")
        if name == PIPELINE:
            raise InvalidValueError(f"a step can't be named {name!r}: ${{pipeline.x}} is a parameter of the pipeline")
        if name in self._nodes:
            raise InvalidValueError(f"the pipeline has a step {name!r} already: give this one another name")

    def _function_parameters(self, node: Node, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a function as parameters; objects that are none become artifacts of the pipeline."""
        assert node._plan is not None
        signature = inspect.signature(innermost(node._plan.function))
        takes_any = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in signature.parameters.values())
        unknown = [name for name in given if name not in signature.parameters and not name.isdigit()]
        if unknown and not takes_any:
            raise InvalidValueError(
                f"step {node.name!r}: function {node._plan.function.__name__} has no argument {unknown[0]!r}"
            )
        defaults = {
            name: one.default
            for name, one in signature.parameters.items()
            if one.default is not inspect.Parameter.empty and name not in given and is_parameter(one.default)
        }
        values: dict[str, Any] = {}
        inputs: dict[str, str] = {}
        for name, value in {**defaults, **given}.items():
            whole = REFERENCE.fullmatch(value) if isinstance(value, str) else None
            if whole is not None and self._is_return(whole[1]):
                step, path = split_reference(whole[1], self._nodes, f"step {node.name!r}, argument {name!r}")
                inputs[name] = f"${{{step}.id}}.{'.'.join(path)}"
            elif is_parameter(value):
                values[name] = value
            else:
                inputs[name] = self._keep_input(node.name, name, value)
        return parameters_of(values, inputs)

    def _is_return(self, reference: str) -> bool:
        """Tell whether a reference means what a step returned: its name and one more, and that is not its id."""
        step, _, rest = reference.rpartition(".")
        if step not in self._nodes or step == PIPELINE or not rest:
            return False
        node = self._nodes[step]
        return rest in node.return_artifacts or (node._plan is None and rest != "id")

    def _keep_input(self, step: str, name: str, value: Any) -> str:
        from localtrack.automation.pipelines.step import store_value

        artifact = f"{step}/{name}"
        store_value(self._task, artifact, value, self._defaults.get("serialize"))
        return f"{self._task.id}.{artifact}"

    def _infer_parents(self, node: Node) -> None:
        """Check a step's references, and add the steps they name to its parents."""
        is_deep = node._plan is not None or node.recursively_parse_parameters
        for name, value in {**node.parameters, **node.task_overrides, **node.configurations}.items():
            place = f"step {node.name!r}, {name.removeprefix(f'{VALUES}/').removeprefix(f'{INPUTS}/')!r}"
            for reference in find_references(value, is_deep):
                step, path = split_reference(reference, self._nodes, place)
                if step == PIPELINE:
                    if ".".join(path) not in self._parameters:
                        known = ", ".join(self._parameters) or "none"
                        raise InvalidValueError(
                            f"{place}: ${{{reference}}}: the pipeline has no parameter {'.'.join(path)!r} (there are: {known})"
                        )
                    continue
                known_returns = self._nodes[step].return_artifacts
                if node._plan is not None and len(path) == 1 and path[0].lower() != "id":
                    raise InvalidValueError(
                        f"{place}: ${{{reference}}}: step {step!r} returns no {path[0]!r} "
                        f"(it returns: {', '.join(known_returns) or 'nothing'})"
                    )
                check_kind(reference, path, place)
                if step not in node.parents:
                    node.parents.append(step)

    def _check_graph(self) -> None:
        """Check that every parent is there and no step waits for itself.

        Raises:
            InvalidValueError: names the steps.
        """
        for node in self._nodes.values():
            for parent in node.parents:
                if parent not in self._nodes:
                    raise InvalidValueError(
                        f"step {node.name!r}: there is no step {parent!r} to wait for (steps: {', '.join(self._nodes)})"
                    )
        open_ones, done = dict(self._nodes), set[str]()
        while open_ones:
            ready = [name for name, node in open_ones.items() if done.issuperset(node.parents)]
            if not ready:
                raise InvalidValueError(f"the steps {', '.join(sorted(open_ones))} wait for each other in a circle")
            done.update(ready)
            for name in ready:
                del open_ones[name]


def _base_task(step: str, task_id: str | None, project: str | None, name: str | None) -> str:
    """Return the id of the base task.

    Raises:
        InvalidValueError: none is named.
        TaskNotFoundError: there is no such task.
    """
    from localtrack.api.task import Task

    if not task_id and not (project or name):
        raise InvalidValueError(f"step {step!r} needs base_task_id, or base_task_project and base_task_name")
    if task_id and "${" in task_id:
        raise InvalidValueError(
            f"step {step!r}: base_task_id is an id; let base_task_factory find a task that is not known yet"
        )
    found = Task.get_task(task_id=task_id, project_name=project, task_name=name, allow_archived=False)
    if found is None:
        raise TaskNotFoundError(f"step {step!r}: there is no task {name!r} in project {project!r}")
    return found.id


def _texts(tags: Sequence[str] | str | None) -> tuple[str, ...]:
    return (tags,) if isinstance(tags, str) else tuple(tags or ())
