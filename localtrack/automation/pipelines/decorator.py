"""Pipelines whose steps are calls: the code of the pipeline decides, while it runs, which steps there are.

Source: ClearML's PipelineDecorator; docs/how-to/pipelines.md, "Steps that are calls".
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from localtrack.automation.pipelines import node as states
from localtrack.automation.pipelines.controller import PipelineController
from localtrack.automation.pipelines.drafts import is_parameter, parameters_of
from localtrack.automation.pipelines.lazy import LazyValue, find_lazy, is_lazy, source_of, value_of, without_lazy
from localtrack.automation.pipelines.node import Node
from localtrack.automation.pipelines.source import COMPONENT, innermost
from localtrack.automation.pipelines.step import load_value, spread
from localtrack.errors import InvalidValueError, LocaltrackError, UnsupportedError, UsageError

RETURN = "return_object"


class PipelineError(LocaltrackError, ValueError):
    """A step whose value is used, or that the pipeline needs, did not end well."""


class PipelineDecorator(PipelineController):
    """A pipeline that is a function, whose steps are calls of decorated functions.

    Args: those of :class:`PipelineController`.
    """

    _decorated: ClassVar[bool] = True
    _current: ClassVar[PipelineDecorator | None] = None
    _runs_locally: ClassVar[bool] = False
    _is_debugging: ClassVar[bool] = False
    _queue: ClassVar[str | None] = None
    _results: ClassVar[list[Any]] = []

    def __init__(
        self,
        name: str,
        project: str,
        version: str | None = None,
        pool_frequency: float = 0.2,
        add_pipeline_tags: bool = False,
        target_project: str | None = None,
        abort_on_failure: bool = False,
        add_run_number: bool = True,
        retry_on_failure: int | Callable[[PipelineController, Node, int], bool] | None = None,
        docker: str | None = None,
        docker_args: str | None = None,
        docker_bash_setup_script: str | None = None,
        packages: bool | str | Sequence[str] | None = None,
        repo: str | None = None,
        repo_branch: str | None = None,
        repo_commit: str | None = None,
        artifact_serialization_function: Callable[[Any], bytes | bytearray] | None = None,
        artifact_deserialization_function: Callable[[bytes], Any] | None = None,
        output_uri: str | bool | None = None,
        skip_global_imports: bool = False,
        working_dir: str | None = None,
        enable_local_imports: bool = True,
    ) -> None:
        super().__init__(
            name, project, version, pool_frequency, add_pipeline_tags, target_project, None, abort_on_failure,
            add_run_number, retry_on_failure, docker, docker_args, docker_bash_setup_script, packages, repo, repo_branch,
            repo_commit, True, artifact_serialization_function, artifact_deserialization_function, output_uri,
            skip_global_imports, working_dir, enable_local_imports,
        )  # fmt: skip
        self._default_queue = type(self)._queue
        self._used: list[str] = []

    @classmethod
    def component(
        cls,
        _func: Any = None,
        *,
        return_values: str | Sequence[str] = (RETURN,),
        name: str | None = None,
        cache: bool = False,
        packages: bool | str | Sequence[str] | None = None,
        parents: list[str] | None = None,
        execution_queue: str | None = None,
        continue_on_fail: bool = False,
        docker: str | None = None,
        docker_args: str | None = None,
        docker_bash_setup_script: str | None = None,
        task_type: str | None = None,
        auto_connect_frameworks: dict[str, Any] | None = None,
        auto_connect_arg_parser: dict[str, bool] | None = None,
        repo: str | None = None,
        repo_branch: str | None = None,
        repo_commit: str | None = None,
        helper_functions: Sequence[Callable[..., Any]] | None = None,
        monitor_metrics: list[Any] | None = None,
        monitor_artifacts: list[Any] | None = None,
        monitor_models: list[Any] | None = None,
        retry_on_failure: int | Callable[[PipelineController, Node, int], bool] | None = None,
        pre_execute_callback: Callable[[PipelineController, Node, dict[str, Any]], bool] | None = None,
        post_execute_callback: Callable[[PipelineController, Node], None] | None = None,
        status_change_callback: Callable[[PipelineController, Node, str], None] | None = None,
        tags: Sequence[str] | str | None = None,
        output_uri: str | bool | None = None,
        draft: bool | None = False,
        working_dir: str | None = None,
        continue_behaviour: dict[str, bool] | None = None,
        stage: str | None = None,
    ) -> Callable[..., Any]:
        """Make a function a step: inside a pipeline, each call of it is a task of its own.

        Args:
            _func: the function, where the decorator is used without brackets.
            return_values: names under which what it returns is kept; with several, it returns so many values.
            name: the step's name; the function's without one. Further calls get ``_1``, ``_2``.
            cache: let an earlier run with the same code and arguments stand in.
            packages: see :meth:`add_function_step`, for this and all that are not named here.
            parents: names of steps that must have ended before, besides those whose values are passed.
            execution_queue: see there.
            continue_on_fail: see there; the values of a failed step are None then.
            docker: see there.
            docker_args: see there.
            docker_bash_setup_script: see there.
            task_type: see there.
            auto_connect_frameworks: see there.
            auto_connect_arg_parser: see there.
            repo: see there.
            repo_branch: see there.
            repo_commit: see there.
            helper_functions: see there.
            monitor_metrics: see there.
            monitor_artifacts: see there.
            monitor_models: see there.
            retry_on_failure: see there.
            pre_execute_callback: see there; the values of a step that is skipped are None.
            post_execute_callback: see there.
            status_change_callback: see there.
            tags: see there.
            output_uri: see there.
            draft: see there.
            working_dir: see there.
            continue_behaviour: see there.
            stage: see there.
        """
        returns = (return_values,) if isinstance(return_values, str) else tuple(return_values)
        options = {
            "cache_executed_step": cache, "packages": packages, "execution_queue": execution_queue,
            "continue_on_fail": continue_on_fail, "docker": docker, "docker_args": docker_args,
            "docker_bash_setup_script": docker_bash_setup_script, "task_type": task_type,
            "auto_connect_frameworks": auto_connect_frameworks, "auto_connect_arg_parser": auto_connect_arg_parser,
            "repo": repo, "repo_branch": repo_branch, "repo_commit": repo_commit, "helper_functions": helper_functions,
            "monitor_metrics": monitor_metrics, "monitor_artifacts": monitor_artifacts, "monitor_models": monitor_models,
            "retry_on_failure": retry_on_failure, "pre_execute_callback": pre_execute_callback,
            "post_execute_callback": post_execute_callback, "status_change_callback": status_change_callback,
            "tags": tags, "output_uri": output_uri, "draft": draft, "working_dir": working_dir,
            "continue_behaviour": continue_behaviour, "stage": stage,
        }  # fmt: skip

        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            title = name or innermost(function).__name__

            @functools.wraps(function)
            def call(*args: Any, **kwargs: Any) -> Any:
                pipeline = cls._current
                if pipeline is None:
                    raise UsageError(
                        f"{title} is a step of a pipeline: call it inside a function that PipelineDecorator.pipeline decorates"
                    )
                if cls._is_debugging:
                    return pipeline._debug_step(title, function, returns, args, kwargs)
                return pipeline._call_step(title, function, returns, parents or [], options, args, kwargs)

            setattr(call, COMPONENT, function)
            return call

        return decorate if _func is None else decorate(_func)

    @classmethod
    def pipeline(
        cls,
        _func: Any = None,
        *,
        name: str,
        project: str,
        version: str | None = None,
        return_value: str | None = None,
        default_queue: str | None = None,
        pool_frequency: float = 0.2,
        add_pipeline_tags: bool = False,
        target_project: str | None = None,
        abort_on_failure: bool = False,
        pipeline_execution_queue: str | None = "services",
        multi_instance_support: bool | str = False,
        add_run_number: bool = True,
        args_map: dict[str, list[str]] | None = None,
        start_controller_locally: bool = False,
        retry_on_failure: int | Callable[[PipelineController, Node, int], bool] | None = None,
        docker: str | None = None,
        docker_args: str | None = None,
        docker_bash_setup_script: str | None = None,
        packages: bool | str | Sequence[str] | None = None,
        repo: str | None = None,
        repo_branch: str | None = None,
        repo_commit: str | None = None,
        artifact_serialization_function: Callable[[Any], bytes | bytearray] | None = None,
        artifact_deserialization_function: Callable[[bytes], Any] | None = None,
        output_uri: str | bool | None = None,
        skip_global_imports: bool = False,
        working_dir: str | None = None,
        enable_local_imports: bool = True,
    ) -> Callable[..., Any]:
        """Make a function a pipeline: a call of it runs the pipeline, and returns what the function returns.

        Args:
            _func: kept for ClearML's signature.
            name: the pipeline's name.
            project: its project.
            version: see :class:`PipelineController`, for this and all that are not named here.
            return_value: name of the artifact that keeps what the function returns.
            default_queue: queue of the steps that name none.
            pool_frequency: see there.
            add_pipeline_tags: see there.
            target_project: see there.
            abort_on_failure: see there.
            pipeline_execution_queue: the queue in which the pipeline goes on; None runs it in this process.
            multi_instance_support: the function may be called several times; one call runs after the other.
            add_run_number: see there.
            args_map: sections of arguments: ``{"section": ["argument"]}``.
            start_controller_locally: run the pipeline in this process, and the steps in their queues.
            retry_on_failure: see there.
            docker: see there.
            docker_args: see there.
            docker_bash_setup_script: see there.
            packages: see there.
            repo: see there.
            repo_branch: see there.
            repo_commit: see there.
            artifact_serialization_function: see there.
            artifact_deserialization_function: see there.
            output_uri: see there.
            skip_global_imports: see there.
            working_dir: see there.
            enable_local_imports: see there.

        Raises:
            UnsupportedError: several pipelines at once in one process.
        """
        if multi_instance_support == "parallel":
            raise UnsupportedError(
                "multi_instance_support='parallel' is not supported by localtrack: start the script once for each pipeline, "
                "or let the calls run one after the other with multi_instance_support=True"
            )

        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            def make() -> PipelineDecorator:
                if default_queue:
                    cls.set_default_execution_queue(default_queue)
                made = cls(
                    name, project, version, pool_frequency, add_pipeline_tags, target_project, abort_on_failure,
                    add_run_number, retry_on_failure, docker, docker_args, docker_bash_setup_script, packages, repo,
                    repo_branch, repo_commit, artifact_serialization_function, artifact_deserialization_function,
                    output_uri, skip_global_imports, working_dir, enable_local_imports,
                )  # fmt: skip
                made._sections = {one: section for section, names in (args_map or {}).items() for one in names}
                return made

            stays = start_controller_locally or not pipeline_execution_queue

            @functools.wraps(function)
            def call(*args: Any, **kwargs: Any) -> Any:
                if cls._current is not None:
                    return function(*args, **kwargs)  # a pipeline inside a pipeline is a part of it
                queue = None if stays or cls._runs_locally or cls._is_debugging else pipeline_execution_queue
                result = make()._call_pipeline(function, args, kwargs, queue, return_value)
                if multi_instance_support:
                    cls._results.append(result)
                return result

            return call

        return decorate if _func is None else decorate(_func)

    @classmethod
    def set_default_execution_queue(cls, default_execution_queue: str | None) -> None:
        """Set the queue of the steps that name none."""
        PipelineDecorator._queue = str(default_execution_queue) if default_execution_queue else None

    @classmethod
    def run_locally(cls) -> None:
        """Run pipelines in this process, and their steps on this machine, each in a process of its own."""
        PipelineDecorator._runs_locally, PipelineDecorator._is_debugging = True, False

    @classmethod
    def debug_pipeline(cls) -> None:
        """Run pipelines and their steps in this process, as plain function calls: for a debugger."""
        PipelineDecorator._runs_locally, PipelineDecorator._is_debugging = True, True

    @classmethod
    def get_current_pipeline(cls) -> PipelineDecorator | None:
        """Return the pipeline that runs in this process; None when there is none."""
        return cls._current

    @classmethod
    def wait_for_multi_pipelines(cls) -> list[Any]:
        """Return what the pipelines with ``multi_instance_support`` have returned: their calls have ended before."""
        found, PipelineDecorator._results = cls._results, []
        return found

    def _call_pipeline(
        self,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        queue: str | None,
        return_value: str | None,
    ) -> Any:
        """Run a function as this pipeline."""
        bound = inspect.signature(innermost(function)).bind(*args, **kwargs)
        bound.apply_defaults()
        for name, value in bound.arguments.items():
            if is_parameter(value):
                self.add_parameter(name, value)
        self._local = self._runs_locally
        if queue is not None:
            self._prepare()
            if queue == "services":
                self._task._ctx.queues.create(queue)
            self._task.execute_remotely(queue_name=queue)
        self._begin(is_open=True)
        bound.arguments.update(self._parameters)
        PipelineDecorator._current = self
        try:
            result = function(*bound.args, **bound.kwargs)
            self._wait_for_steps()
            if return_value and result is not None:
                from localtrack.automation.pipelines.step import store_value

                store_value(self._task, return_value, without_lazy(result), self._defaults.get("serialize"))
        except BaseException as error:
            assert self._engine is not None
            self._engine.stop("the pipeline's own code failed")
            self._engine.wait()
            self._close_after(error)
            raise
        finally:
            PipelineDecorator._current = None
        self._finish()
        return result

    def _wait_for_steps(self) -> None:
        """Wait for all steps; one that failed, and whose value nobody used, fails the pipeline now."""
        assert self._engine is not None
        self._engine.close()
        self.wait()
        problem = self.problem()
        if problem:
            raise PipelineError(problem)

    def _close_after(self, error: BaseException) -> None:
        """End the pipeline's task truthfully; the exception that is on its way says the rest."""
        if isinstance(error, Exception):
            self._error = f"{type(error).__name__}: {error}"
            self._finish("failed")

    def problem(self) -> str:
        """Return why the pipeline has failed; ``""`` when it has not."""
        return super().problem() or str(self.__dict__.get("_error", ""))

    def _debug_step(
        self,
        title: str,
        function: Callable[..., Any],
        returns: Sequence[str],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> Any:
        """Call a step as the function that it is."""
        import time

        node = Node(
            self._free_name(title), return_artifacts=list(returns), job_code_section=innermost(function).__name__
        )
        node.status, node.job_started = states.RUNNING, time.time()
        node.executed = self._task.id
        try:
            result = function(*args, **kwargs)
            found = spread(result, returns, title)
        except BaseException as error:
            node.status, node._problem, node.executed = states.FAILED, f"{type(error).__name__}: {error}", False
            raise
        else:
            node.status = states.COMPLETED
        finally:
            node.job_ended = time.time()
            assert self._engine is not None
            self._engine.add(node)
        return found[0] if len(found) == 1 else found or None

    def _call_step(
        self,
        title: str,
        function: Callable[..., Any],
        returns: tuple[str, ...],
        parents: Sequence[str],
        options: Mapping[str, Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> Any:
        """Take a call as a step, and return what stands for its values."""
        name = self._free_name(title)
        given = _bound(function, args, kwargs)
        node = self._function_node(name, function, returns, options)
        node._is_call = True
        node.parents = [*parents, *self._done_before()]
        given = {**_defaults(function), **given}
        values: dict[str, Any] = {}
        inputs: dict[str, str] = {}
        for key, value in given.items():
            if is_lazy(value):
                source, artifact = source_of(value)
                inputs[key] = f"${{{source.name}.id}}.{artifact}"
                node.parents.append(source.name)
                continue
            node.parents.extend(source_of(one)[0].name for one in find_lazy(value))
            value = without_lazy(value)
            if is_parameter(value):
                values[key] = value
            else:
                inputs[key] = self._keep_input(name, key, value)
        node.parents = list(dict.fromkeys(node.parents))
        node.parameters = parameters_of(values, inputs)
        unknown = [one for one in node.parents if one not in self._nodes]
        if unknown:
            raise InvalidValueError(
                f"step {name!r}: no step {unknown[0]!r} was called before (steps: {', '.join(self._nodes)})"
            )
        assert self._engine is not None
        if not self._local and not node.draft and not self._queue_of(node):
            raise InvalidValueError(
                f"step {name!r} has no queue: name one in the component, in default_queue of the pipeline, or call "
                "PipelineDecorator.run_locally() before the pipeline"
            )
        self._take_callbacks(name, options)
        self._engine.add(node)
        found = [LazyValue(functools.partial(self._fetch, node, one), (node, one)) for one in returns]
        return found[0] if len(found) == 1 else found

    def _free_name(self, title: str) -> str:
        name, number = title, 0
        while name in self._nodes:
            number += 1
            name = f"{title}_{number}"
        return name

    def _done_before(self) -> list[str]:
        """Return the steps whose values the pipeline's code has used so far: they decided that there is this one."""
        used = {one: self._nodes[one] for one in self._used if self._nodes[one].executed}
        earlier = {parent for node in used.values() for parent in node.parents}
        return [one for one in used if one not in earlier]

    def _fetch(self, node: Node, name: str) -> Any:
        """Wait for a step and return one of its values."""
        assert self._engine is not None
        self._engine.wait_for(node)
        if node.status not in (states.COMPLETED, states.CACHED):
            if node.status == states.SKIPPED and not node._problem and not self._engine.stop_reason:
                return None
            excused = node.continue_on_fail if node.status == states.FAILED else node.continue_on_abort
            if excused and node.status != states.SKIPPED:
                return None
            task = f", task {node.task_id()}," if node.job is not None else ""
            raise PipelineError(f"step {node.name}{task} {node.status}: {node._problem}")
        if node.name not in self._used:
            self._used.append(node.name)
        assert node.job is not None
        return load_value(node.job.task, name, self._defaults.get("deserialize"))


def _defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the defaults of a function that can be kept as parameters; others stay its own."""
    known = inspect.signature(innermost(function)).parameters
    return {name: one.default for name, one in known.items() if is_parameter(one.default)}


def _bound(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call by name; what a function takes beyond its names is numbered.

    Raises:
        TypeError: the function can't be called so.
    """
    signature = inspect.signature(innermost(function))
    found: dict[str, Any] = {}
    for name, value in signature.bind(*args, **kwargs).arguments.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            found.update({str(number): one for number, one in enumerate(value)})
        elif kind is inspect.Parameter.VAR_KEYWORD:
            found.update(value)
        else:
            found[name] = value
    return found


__all__ = ["PipelineDecorator", "PipelineError", "value_of"]
