"""Pipelines that are tasks in the store: found, cloned, queued; and what a step tells its pipeline.

Source: ClearML's PipelineController.get, clone, enqueue, create, upload_artifact, upload_model, get_logger.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localtrack.errors import InvalidValueError, TaskNotFoundError, UsageError

if TYPE_CHECKING:
    from typing_extensions import Self

    from localtrack.api.logger import Logger
    from localtrack.api.model import OutputModel
    from localtrack.api.task import Task

SECTION = ".pipelines"
TAG = "pipeline"


class StoredPipelines:
    """Classmethods that need no pipeline of this process."""

    _task: Task

    @classmethod
    def _of_task(cls, task: Task) -> Self:
        """Return a pipeline that another process defines and runs: its task, and no steps."""
        from localtrack.automation.pipelines.definition import Definition

        found = cls.__new__(cls)
        Definition.__init__(found)  # type: ignore[arg-type]
        found._task = task
        version = task.get_user_properties(value_only=True).get("version")
        found.__dict__.update(_version=str(version or ""), _name=task.name, _engine=None, _is_finished=True)
        return found

    @classmethod
    def get(
        cls,
        pipeline_id: str | None = None,
        pipeline_project: str | None = None,
        pipeline_name: str | None = None,
        pipeline_version: str | None = None,
        pipeline_tags: Sequence[str] | None = None,
        shallow_search: bool = False,
    ) -> Self:
        """Return a pipeline that was run or queued before: by id, or the newest that fits.

        Args:
            pipeline_id: id of its task.
            pipeline_project: its project.
            pipeline_name: its name.
            pipeline_version: its version.
            pipeline_tags: tags that its task has.
            shallow_search: kept for ClearML's signature: a search reads one index.

        Raises:
            TaskNotFoundError: there is none.
            InvalidValueError: neither an id, nor a name.
        """
        from localtrack.api.task import Task

        if pipeline_id:
            found = Task.get_task(task_id=pipeline_id)
            assert found is not None
            return cls._of_task(found)
        if not pipeline_name:
            raise InvalidValueError("PipelineController.get needs pipeline_id, or pipeline_project and pipeline_name")
        place = "/".join(part for part in (pipeline_project, SECTION, pipeline_name) if part)
        known = Task.get_tasks(
            project_name=place, tags=list(pipeline_tags or ()) or None, allow_archived=False,
            task_filter={"system_tags": [TAG], "order_by": ["-created"]},
        )  # fmt: skip
        for one in known:
            version = one.get_user_properties(value_only=True).get("version")
            if pipeline_version is None or str(version) == str(pipeline_version):
                return cls._of_task(one)
        raise TaskNotFoundError(
            f"there is no pipeline {pipeline_name!r}{f' {pipeline_version}' if pipeline_version else ''} in project {pipeline_project!r}"
        )

    @classmethod
    def create(
        cls,
        project_name: str,
        task_name: str,
        repo: str | None = None,
        branch: str | None = None,
        commit: str | None = None,
        script: str | None = None,
        working_directory: str | None = None,
        packages: bool | Sequence[str] | None = None,
        requirements_file: str | Path | None = None,
        docker: str | None = None,
        docker_args: str | None = None,
        docker_bash_setup_script: str | None = None,
        argparse_args: Sequence[tuple[str, str]] | None = None,
        force_single_script_file: bool = False,
        version: str | None = None,
        add_run_number: bool = True,
        binary: str | None = None,
        module: str | None = None,
        detect_repository: bool = True,
    ) -> Self:
        """File a pipeline as a draft, whose script defines and starts it; see ``Task.create``.

        Args:
            project_name: the pipeline's project.
            task_name: its name.
            repo: see ``Task.create``, for this and all that are not named here.
            branch: see there.
            commit: see there.
            script: see there.
            working_directory: see there.
            packages: see there.
            requirements_file: see there.
            docker: see there.
            docker_args: see there.
            docker_bash_setup_script: see there.
            argparse_args: see there.
            force_single_script_file: see there.
            version: the pipeline's version.
            add_run_number: kept for ClearML's signature: a draft has no run yet.
            binary: see there.
            module: see there.
            detect_repository: see there.
        """
        from localtrack.api.task import Task

        made = Task.create(
            project_name=f"{project_name}/{SECTION}/{task_name}", task_name=task_name,
            task_type=Task.TaskTypes.controller, repo=repo, branch=branch, commit=commit, script=script,
            working_directory=working_directory, packages=packages,
            requirements_file=None if requirements_file is None else str(requirements_file), docker=docker,
            docker_args=docker_args, docker_bash_setup_script=docker_bash_setup_script, argparse_args=argparse_args,
            force_single_script_file=force_single_script_file, binary=binary, module=module,
            detect_repository=detect_repository,
        )  # fmt: skip
        made.set_system_tags([*made.get_system_tags(), TAG])
        if version:
            made.set_user_properties(version=version)
        return cls._of_task(made)

    @classmethod
    def clone(
        cls,
        pipeline_controller: Any,
        name: str | None = None,
        comment: str | None = None,
        parent: str | None = None,
        project: str | None = None,
        version: str | None = None,
    ) -> Self:
        """Return a draft of a pipeline, whose parameters can be changed before it is queued.

        Args:
            pipeline_controller: the pipeline, or the id of its task.
            name: the draft's name.
            comment: its comment.
            parent: id of its parent.
            project: the pipeline's project.
            version: its version.

        Raises:
            TaskNotFoundError: no such pipeline.
        """
        from localtrack.api.task import Task

        source = _task_of(pipeline_controller)
        place = None if project is None else f"{project}/{SECTION}/{name or source.name}"
        made = Task.clone(source, name=name or source.name, comment=comment, parent=parent, project=place)
        if version:
            made.set_user_properties(version=version)
        return cls._of_task(made)

    @classmethod
    def enqueue(
        cls,
        pipeline_controller: Any,
        queue_name: str | None = None,
        queue_id: str | None = None,
        force: bool = False,
    ) -> bool:
        """Put a pipeline into a queue; see ``Task.enqueue``.

        Args:
            pipeline_controller: the pipeline, or the id of its task.
            queue_name: the queue.
            queue_id: the same.
            force: reset a completed one first.
        """
        from localtrack.api.task import Task

        return Task.enqueue(_task_of(pipeline_controller), queue_name, queue_id, force)

    @classmethod
    def get_logger(cls) -> Logger:
        """Return the logger of the pipeline that this process runs, or is a step of.

        Raises:
            UsageError: there is none.
        """
        return _pipeline_task().get_logger()

    @classmethod
    def upload_artifact(
        cls,
        name: str,
        artifact_object: Any,
        metadata: Mapping[str, Any] | None = None,
        delete_after_upload: bool = False,
        auto_pickle: bool | None = None,
        preview: Any = None,
        wait_on_upload: bool = False,
        serialization_function: Callable[[Any], bytes] | None = None,
        sort_keys: bool = True,
    ) -> bool:
        """Store an artifact with the pipeline that this process runs, or is a step of; see ``Task.upload_artifact``.

        Raises:
            UsageError: there is none.
        """
        return _pipeline_task().upload_artifact(
            name, artifact_object, metadata, delete_after_upload, auto_pickle, preview, wait_on_upload,
            serialization_function=serialization_function, sort_keys=sort_keys,
        )  # fmt: skip

    @classmethod
    def upload_model(cls, model_name: str, model_local_path: str, upload_uri: str | None = None) -> OutputModel:
        """Store a model with the pipeline that this process runs, or is a step of.

        Args:
            model_name: the model's name.
            model_local_path: its weights: a file.
            upload_uri: where they go; into the store without one.

        Raises:
            UsageError: there is none.
        """
        from localtrack.api.model import OutputModel

        model = OutputModel(task=_pipeline_task(), name=model_name)
        model.update_weights(
            weights_filename=str(model_local_path), upload_uri=upload_uri or "", auto_delete_file=False
        )
        return model


def _task_of(pipeline: Any) -> Task:
    from localtrack.api.task import Task

    if isinstance(pipeline, StoredPipelines):
        return pipeline._task
    found = Task.get_task(task_id=str(pipeline))
    assert found is not None
    return found


def _pipeline_task() -> Task:
    """Return the task of the pipeline around this process."""
    from localtrack.api.task import Task

    found = Task.current_task()
    seen: set[str] = set()
    while found is not None and found.id not in seen:
        seen.add(found.id)
        if TAG in found.get_system_tags():
            return found
        parent = found.parent
        found = Task.get_task(task_id=parent) if parent else None
    raise UsageError("this process neither runs a pipeline nor is a step of one")
