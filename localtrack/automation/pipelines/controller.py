"""Pipelines whose steps are known before the start.

Source: ClearML's PipelineController; docs/how-to/pipelines.md.
"""

from __future__ import annotations

import atexit
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from localtrack.automation.pipelines import node as states
from localtrack.automation.pipelines.conductor import Conductor, say
from localtrack.automation.pipelines.definition import ARGUMENTS, Definition
from localtrack.automation.pipelines.engine import Engine
from localtrack.automation.pipelines.monitoring import Monitor
from localtrack.automation.pipelines.node import Node
from localtrack.automation.pipelines.report import Report
from localtrack.automation.pipelines.stored import SECTION, TAG, StoredPipelines
from localtrack.errors import InvalidValueError, UsageError
from localtrack.runtime import current
from localtrack.runtime.exits import Outcome
from localtrack.services.context import open_context

if TYPE_CHECKING:
    from localtrack.api.task import Task

LOG = logging.getLogger("localtrack.pipeline")
SETTINGS = "pipeline"
ABORT_S = 25.0
_VERSION = re.compile(r"v?\d+(\.\d+)*([-.+_]?[0-9A-Za-z]+)*")


class PipelineController(StoredPipelines, Definition):
    """A pipeline: steps that are tasks, started when what they need is there.

    The pipeline is a task itself: that of this process, or a new one of type controller in the project
    ``PROJECT/.pipelines/NAME``.

    Args:
        name: the pipeline's name.
        project: its project.
        version: kept as the user property ``version``.
        pool_frequency: minutes between two looks at the steps; at most a second here, a tenth where this machine runs them.
        add_pipeline_tags: tag the steps with ``pipe: NAME``.
        target_project: project of cloned steps: a name; True for the pipeline's; False or None for that of the base
            task. A name is the project of function steps as well.
        auto_version_bump: kept for ClearML's signature, where it is deprecated.
        abort_on_failure: abort all steps when one fails.
        add_run_number: add ``#2`` to the name of the second run, and so on.
        retry_on_failure: how often a failed step is run again; or asked with pipeline, step and retries so far.
        docker: kept with function steps.
        docker_args: likewise.
        docker_bash_setup_script: likewise.
        packages: likewise.
        repo: repository in which function steps run.
        repo_branch: its branch.
        repo_commit: its commit.
        always_create_from_code: kept for ClearML's signature: the steps always are those that the code adds.
        artifact_serialization_function: turns what function steps return into bytes.
        artifact_deserialization_function: turns it back.
        output_uri: where models and artifacts of the pipeline and its steps go.
        skip_global_imports: leave the imports of the module out of function steps.
        working_dir: folder in the repository.
        enable_local_imports: let steps on this machine import what lies beside the script.

    Raises:
        InvalidValueError: a version that is none.
    """

    valid_job_status: ClassVar[list[str]] = ["failed", "cached", "completed", "aborted", "queued", "running", "skipped", "pending"]  # fmt: skip
    _decorated: ClassVar[bool] = False

    def __init__(
        self,
        name: str,
        project: str,
        version: str | None = None,
        pool_frequency: float = 0.2,
        add_pipeline_tags: bool = False,
        target_project: str | bool | None = True,
        auto_version_bump: bool | None = None,
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
        always_create_from_code: bool = True,
        artifact_serialization_function: Callable[[Any], bytes | bytearray] | None = None,
        artifact_deserialization_function: Callable[[bytes], Any] | None = None,
        output_uri: str | bool | None = None,
        skip_global_imports: bool = False,
        working_dir: str | None = None,
        enable_local_imports: bool = True,
    ) -> None:
        super().__init__()
        self._version = str(version).strip() if version else None
        if self._version and not _VERSION.fullmatch(self._version):
            raise InvalidValueError(f"{version!r} is no version of a pipeline: 1.0.2 would be one")
        self._name = name
        self._poll_s = float(pool_frequency) * 60.0
        self._add_pipeline_tags = add_pipeline_tags
        self._target_project = target_project
        self._abort_on_failure = abort_on_failure
        self._default_retry = retry_on_failure
        self._local_imports = enable_local_imports
        self._output_uri = output_uri
        self._defaults = {
            "docker": docker, "docker_args": docker_args, "docker_bash_setup_script": docker_bash_setup_script,
            "packages": packages, "repo": repo, "repo_branch": repo_branch, "repo_commit": repo_commit,
            "working_dir": working_dir, "serialize": artifact_serialization_function,
            "deserialize": artifact_deserialization_function, "skip_global_imports": skip_global_imports,
        }  # fmt: skip
        self._time_limit_s: float | None = None
        self._local = False
        self._engine: Engine | None = None
        self._on_created: Callable[..., Any] | None = None
        self._on_completed: Callable[..., Any] | None = None
        self._task = self._own_task(name, project, add_run_number)
        self._report = Report(self._task, self._nodes)
        self._monitor = Monitor(self._task)
        self._is_finished = False
        self._is_aborted = False
        self._sections: dict[str, str] = {}

    def _own_task(self, name: str, project: str, add_run_number: bool) -> Task:
        from localtrack.api.task import Task

        found = Task.current_task()
        if found is None:
            place = "/".join(part for part in (project, SECTION, name) if part)
            title = name
            if add_run_number and Task.running_locally():
                title = _numbered(name, place)
            found = Task.init(
                project_name=place, task_name=title, task_type=Task.TaskTypes.controller, reuse_last_task_id=False,
                auto_resource_monitoring=False,
            )  # fmt: skip
        if TAG not in found.get_system_tags():
            found.set_system_tags([*found.get_system_tags(), TAG])
        if self._version:
            found.set_user_properties(version=self._version)
        if self._output_uri is not None:
            found.output_uri = self._output_uri
        return found

    def start(
        self,
        queue: str = "services",
        step_task_created_callback: Callable[[PipelineController, Node, dict[str, Any]], bool] | None = None,
        step_task_completed_callback: Callable[[PipelineController, Node], None] | None = None,
        wait: bool = True,
    ) -> bool:
        """Go on in a queue: this process ends here, and an agent runs the script, and with it the pipeline.

        Args:
            queue: the queue of the pipeline; that of its steps is theirs. None runs the pipeline in this process.
            step_task_created_callback: called with pipeline, step and parameters before a step starts; False skips it.
            step_task_completed_callback: called with pipeline and step when one has ended.
            wait: wait for the end of the pipeline.

        Returns:
            True.

        Raises:
            InvalidValueError: a step without a queue, a parent that is not there, or a circle.
            QueueNotFoundError: no such queue.
        """
        self._check_startable()
        self._check_graph()
        self._check_queues()
        if queue:
            self._prepare()
            if queue == "services":
                self._task._ctx.queues.create(queue)
            self._task.execute_remotely(queue_name=queue)
        self._begin(step_task_created_callback, step_task_completed_callback)
        if wait:
            self.wait()
            self._finish()
        else:
            atexit.register(self.stop)  # a script that forgets it must not end as if all were well
        return True

    def start_locally(self, run_pipeline_steps_locally: bool = False) -> None:
        """Run the pipeline in this process, and wait for its end.

        A failed pipeline raises nothing here, and leaves the script's exit code alone; :meth:`is_successful` tells.

        Args:
            run_pipeline_steps_locally: run the steps on this machine, each in a process of its own; else they wait in
                their queues for agents.

        Raises:
            InvalidValueError: a step without a queue, a parent that is not there, or a circle.
        """
        self._check_startable()
        self._check_graph()
        self._local = run_pipeline_steps_locally
        self._check_queues()
        self._begin()
        self.wait()
        self._finish()

    def create_draft(self) -> None:
        """End this process, and leave the pipeline as a draft that can be queued."""
        self._check_startable()
        self._check_graph()
        self._prepare()
        self._task.execute_remotely(queue_name=None, exit_process=True)

    def stop(self, timeout: float | None = None, mark_failed: bool = False, mark_aborted: bool = False) -> None:
        """End the pipeline: steps that run are aborted, the others skipped.

        Args:
            timeout: minutes to wait for the steps at most.
            mark_failed: the pipeline has failed.
            mark_aborted: the pipeline was aborted.
        """
        if self._engine is not None:
            if self._engine.is_running:
                self._engine.stop("the pipeline was told to stop")
            self._engine.wait(None if timeout is None else timeout * 60.0)
        self._finish("failed" if mark_failed else "stopped" if mark_aborted else "")

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end of the pipeline.

        Args:
            timeout: minutes to wait at most.

        Returns:
            Whether it has ended.
        """
        if self._engine is None:
            return True
        deadline = None if timeout is None else time.monotonic() + timeout * 60.0
        try:
            while not self._engine.wait(0.5):  # in pieces: a signal is handled between them
                if deadline is not None and time.monotonic() > deadline:
                    return False
        except BaseException:
            self._engine.stop("interrupted")
            self._engine.wait()
            raise
        return True

    def is_running(self) -> bool:
        """Tell whether the pipeline runs."""
        return self._engine is not None and self._engine.is_running

    def is_successful(self, fail_on_step_fail: bool = True, fail_condition: str = "all") -> bool:
        """Tell whether the pipeline has ended well; False while it runs.

        Args:
            fail_on_step_fail: False: a pipeline that has ended is successful, whatever became of its steps.
            fail_condition: what counts: ``failed``, ``aborted``, or ``all`` for both.

        Raises:
            InvalidValueError: another condition.
        """
        if fail_condition not in ("all", "failed", "aborted"):
            raise InvalidValueError(f"fail_condition is 'all', 'failed' or 'aborted', not {fail_condition!r}")
        if self._engine is None or self._engine.is_running or self._engine.error is not None:
            return False
        if not fail_on_step_fail:
            return True
        wanted = {"all": (states.FAILED, states.ABORTED)}.get(fail_condition, (fail_condition,))
        return not any(node.status in wanted and node.fails_pipeline for node in self._nodes.values())

    def elapsed(self) -> float:
        """Return minutes since the start; -1 before."""
        if self._engine is None:
            return -1.0
        return ((self._engine.ended_at or time.time()) - self._engine.started_at) / 60.0

    def set_pipeline_execution_time_limit(self, max_execution_minutes: float | None) -> None:
        """Set the minutes after which the pipeline is ended."""
        self._time_limit_s = None if max_execution_minutes is None else float(max_execution_minutes) * 60.0

    def get_pipeline_dag(self) -> Mapping[str, Node]:
        """Return the steps by name."""
        return self._nodes

    def get_processed_nodes(self) -> Sequence[Node]:
        """Return the steps that have ended, and those that were skipped."""
        return [node for node in self._nodes.values() if node.has_ended]

    def get_running_nodes(self) -> Sequence[Node]:
        """Return the steps that wait in a queue or run."""
        return self._engine.running() if self._engine is not None else []

    def update_execution_plot(self) -> None:
        """Write the picture of the pipeline and the table of its steps anew."""
        self._report.write(at_once=True)

    def connect_configuration(self, configuration: Any, name: str | None = None, description: str | None = None) -> Any:
        """Keep a configuration with the pipeline's task; see ``Task.connect_configuration``."""
        return self._task.connect_configuration(configuration, name=name, description=description)

    @property
    def task(self) -> Task:
        """The pipeline's task."""
        return self._task

    @property
    def id(self) -> str:
        """Id of the pipeline's task."""
        return self._task.id

    @property
    def tags(self) -> list[str]:
        """Tags of the pipeline's task."""
        return self._task.get_tags()

    @property
    def version(self) -> str:
        """The pipeline's version; ``""`` without one."""
        return self._version or ""

    def add_tags(self, tags: Sequence[str] | str) -> None:
        """Add tags to the pipeline's task."""
        self._task.add_tags(tags)

    def _check_startable(self) -> None:
        if self._engine is not None:
            raise UsageError(f"pipeline {self._name!r} was started already: make another one")
        if not self._nodes and not self._decorated:
            raise UsageError(f"pipeline {self._name!r} has no steps: add_step or add_function_step first")

    def _check_queues(self) -> None:
        for node in self._nodes.values():
            if self._local or node.draft:
                continue
            queue = self._queue_of(node)
            if not queue:
                raise InvalidValueError(
                    f"step {node.name!r} has no queue: name one in the step or with set_default_execution_queue, "
                    "or run the steps on this machine with start_locally(run_pipeline_steps_locally=True)"
                )
            if queue != "default":
                self._task._ctx.queues.get(queue)

    def _prepare(self) -> None:
        """Keep parameters and steps with the task; under an agent the task's own values count."""
        for section in dict.fromkeys(self._sections.get(name, ARGUMENTS) for name in self._parameters):
            own = {
                name: one for name, one in self._parameters.items() if self._sections.get(name, ARGUMENTS) == section
            }
            connected = self._task.connect(own, name=section)
            self._parameters.update({name: connected[name] for name in own})
        for name, text in self._descriptions.items():
            place = f"{self._sections.get(name, ARGUMENTS)}/{name}"
            self._task.set_parameter(place, self._parameters[name], description=text)
        settings = {
            "default_queue": self._default_queue or "", "add_pipeline_tags": self._add_pipeline_tags,
            "target_project": self._target_project,
        }  # fmt: skip
        connected = self._task.connect(settings, name=SETTINGS)
        self._default_queue = connected["default_queue"] or None
        self._add_pipeline_tags, self._target_project = connected["add_pipeline_tags"], connected["target_project"]
        self._report.write()

    def _begin(self, created: Any = None, completed: Any = None, *, is_open: bool = False) -> None:
        self._prepare()
        self._on_created, self._on_completed = created, completed
        self._engine = Engine(
            self._nodes, Conductor(self), self._poll_s, abort_on_failure=self._abort_on_failure, time_limit_s=self._time_limit_s,
            is_local=self._local, is_open=is_open,
        )  # fmt: skip
        try:
            self._task.register_abort_callback(self._abort)
        except UsageError as error:
            LOG.debug("no abort callback: %s", error)
        self._engine.start()

    def _abort(self) -> None:
        """End the steps when the pipeline's task is aborted."""
        self._is_aborted = True
        if self._engine is not None:
            self._engine.stop("the pipeline was aborted")
            self._engine.wait(ABORT_S)

    def problem(self) -> str:
        """Return why the pipeline has failed; ``""`` when it has not."""
        engine = self._engine
        if engine is not None and engine.error is not None:
            return f"the pipeline itself failed: {engine.error}"
        failed = [node for node in self._nodes.values() if node.fails_pipeline]
        if failed:
            return "; ".join(f"step {node.name} {node.status}: {node._problem}" for node in failed)
        return engine.stop_reason if engine is not None and "time limit" in engine.stop_reason else ""

    def _finish(self, status: str = "") -> None:
        """End the pipeline's task, once, as the pipeline has ended."""
        if self._is_finished:
            return
        self._is_finished = True
        if self._is_aborted:  # what asked for that ends this process: nothing of the script is to follow
            time.sleep(ABORT_S)
            status = status or "stopped"
        problem = self.problem()
        self._report.write(at_once=True)
        if not status and problem:
            status = "failed"
        if status == "failed":
            say(f"localtrack: pipeline {self._name} failed: {problem or 'it was marked as failed'}")
        self._end_task(status, problem)

    def _end_task(self, status: str, problem: str) -> None:
        session = current.get()
        if not status or session is None or session.task_id != self._task.id:
            self._task.close()
            return
        is_failed = status == "failed"
        reason = "Pipeline step failed" if is_failed else "aborted"
        kind = "user_error" if is_failed else "stopped"
        session.close(Outcome(status, 0, message=problem, failure_class=kind, reason=reason))
        if current.get() is None:
            current.put(None)


def _numbered(name: str, project: str) -> str:
    """Return the name of a run: the second one of a pipeline gets ``#2``."""
    from localtrack.records.filters import Query

    rows = open_context().index.search(Query(project=project, search_hidden=True))
    earlier = [row for row in rows if TAG in row.system_tags]
    numbers = [int(found[1]) for row in earlier if (found := re.fullmatch(r".* #(\d+)", row.name))]
    number = max([len(earlier), *numbers]) + 1
    return f"{name} #{number}" if number > 1 else name


PipelineController.Node = Node  # type: ignore[attr-defined]  # in the class it would hide the type from annotations
