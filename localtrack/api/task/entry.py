"""Section: how a task comes into a program: started, found, created, cloned.

Source: ClearML's Task.init, Task.current_task, Task.get_task, Task.get_tasks, Task.query_tasks, Task.create, Task.clone.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from localtrack.api.task.handle import Section
from localtrack.errors import InvalidValueError, TaskNotFoundError
from localtrack.records.ids import is_task_id, normal_project, tags_of
from localtrack.records.late import LateModule
from localtrack.records.status import TaskTypes as _TaskTypes
from localtrack.runtime import current, monitor, seeds, starter
from localtrack.runtime.console_capture import stream_choice
from localtrack.services import tasks
from localtrack.services.context import StoreContext, open_context

if TYPE_CHECKING:
    from localtrack.api.task import Task
    from localtrack.api.task.transfer import TasksFound
    from localtrack.runtime import simulation
    from localtrack.runtime.session import Session
    from localtrack.services import search
else:
    search = LateModule("localtrack.services.search")
    simulation = LateModule("localtrack.runtime.simulation")


class EntrySection(Section):
    """Class methods that return tasks."""

    TaskTypes = _TaskTypes
    NotSet: Any = object()

    @classmethod
    def init(
        cls,
        project_name: str | None = None,
        task_name: str | None = None,
        task_type: str | _TaskTypes | None = _TaskTypes.training,
        tags: Sequence[str] | str | None = None,
        reuse_last_task_id: bool | str = True,
        continue_last_task: bool | str | int = False,
        output_uri: str | bool | None = None,
        auto_connect_arg_parser: bool | Mapping[str, bool] = True,
        auto_connect_frameworks: bool | Mapping[str, Any] = True,
        auto_resource_monitoring: bool | Mapping[str, Any] | type = True,
        auto_connect_streams: bool | Mapping[str, bool] = True,
        deferred_init: bool = False,
    ) -> Task:
        """Start tracking this process as a task, or return the task that it is already.

        Args:
            project_name: path of the project, sub-projects divided by ``/``; the repository's name without one.
            task_name: any text; the script's name without one.
            task_type: a member of ``TaskTypes`` or its name.
            tags: added to the task; one text is split at blanks.
            reuse_last_task_id: take up the last task of that name, if it is young and has no artifacts or models;
                what it held goes to the trash. An id takes up that task. False always makes a new one.
            continue_last_task: go on with the last task, or that id, and keep what it has; iterations go on from
                its last one. An integer is the number to add to iterations instead. Which task may be said by its id
                in ``reuse_last_task_id``, too.
            output_uri: where models go, kept with the task: a URL or a path; True for the store itself; False for
                nowhere. None leaves a task that is taken up again as it is.
            auto_connect_arg_parser: record parsed arguments; a dict names single ones, ``*`` the rest.
            auto_connect_frameworks: record what frameworks show, log and save. A dict switches single ones by name
                (``matplotlib``, ``tensorboard``, ...; all others stay on), or gives one its options:
                ``{"tensorboard": {"report_hparams": False}}``, ``{"pytorch": ["*.pt"]}`` for the files to record.
            auto_resource_monitoring: report the machine's load. A dict sets ClearML's options
                (``report_frequency_sec``, ``seconds_from_start``, ``report_global_mem_used``, ...); a class replaces the
                monitor: it is called with the task and those options by name, then its ``start``.
            auto_connect_streams: capture stdout, stderr and logging; a dict names single ones, and those it
                leaves out are not captured, whenever a logging handler is made. ``{"descriptors": True}`` takes what
                C libraries and child programs print as well, and all three with it but those that are False.
            deferred_init: kept for ClearML's signature; starting takes milliseconds here.

        Returns:
            The task.

        Raises:
            UsageError: this process already runs a task of another project, name or type.
            InvalidValueError: an unknown type, or an argument that can't be understood.
            StoreError: the store can't be written.
            StorageError: the folder of ``output_uri`` can't be written; under an agent, that which the task has.
            MissingExtraError: such a place needs an optional package.
        """
        request = starter.InitRequest(
            project=project_name,
            name=task_name,
            task_type=task_type,
            tags=tags_of(tags),
            reuse=reuse_last_task_id,
            resume=continue_last_task,
            output_uri=output_uri,
            arguments=auto_connect_arg_parser,
            frameworks=auto_connect_frameworks,
            monitor=auto_resource_monitoring,
            streams=stream_choice(auto_connect_streams),
        )
        started = starter.start(request, sys._getframe(1))
        task = cls._of_session(started.session)
        if started.is_new:
            task.set_initial_iteration(started.iteration_offset)
        if started.is_new and isinstance(auto_resource_monitoring, type):
            monitor.start_own_monitor(auto_resource_monitoring, started.session, task)
        return task

    @classmethod
    def current_task(cls) -> Task | None:
        """Return this process's task; None when there is none.

        In a child process it is that of its parent, on a rank of a distributed launch that of rank zero, once that runs.
        """
        session = current.get() or starter.attach()
        return None if session is None else cls._of_session(session)

    @classmethod
    def _of_session(cls, session: Session) -> Task:
        from localtrack.api.task import Task

        def make() -> Task:
            task = Task()
            task._bind(session.ctx, session.task_id, session.folder, session)
            task._iteration_offset = session.iteration_offset
            return task

        return cast("Task", session.one_facade(make))

    @classmethod
    def _of_id(cls, ctx: StoreContext, task_id: str) -> Task:
        from localtrack.api.task import Task

        session = current.get()
        if session is not None and session.task_id == task_id:
            return cls._of_session(session)
        task = Task()
        task._bind(ctx, task_id, tasks.folder_of(ctx, task_id))
        return task

    @classmethod
    def get_task(
        cls,
        task_id: str | None = None,
        project_name: str | None = None,
        task_name: str | None = None,
        tags: Sequence[str] | None = None,
        allow_archived: bool = True,
        task_filter: Mapping[str, Any] | None = None,
    ) -> Task | None:
        """Return one task: by id, or the last modified one of exactly that project and name.

        Returns:
            The task; None when no name fits. Of several the last modified one, which is logged; an archived one only
            when there is no other.

        Raises:
            TaskNotFoundError: no task has that id.
            ProjectNotFoundError: no task lies in that project.
            InvalidValueError: neither an id nor a name is given.
        """
        ctx = open_context()
        if task_id:
            wanted = _id_of(task_id)
            return cls._of_id(ctx, wanted if is_task_id(wanted) else tasks.resolve(ctx, wanted))
        if not task_name and not project_name and not task_filter:
            raise InvalidValueError("get_task needs task_id, or project_name and task_name")
        found = search.last_modified(ctx, search.Search(project_name, task_name, tags, allow_archived, task_filter))
        return None if found is None else cls._of_id(ctx, found[0])

    @classmethod
    def get_tasks(
        cls,
        task_ids: Sequence[str] | None = None,
        project_name: str | Sequence[str] | None = None,
        task_name: str | None = None,
        tags: Sequence[str] | None = None,
        allow_archived: bool = True,
        task_filter: Mapping[str, Any] | None = None,
    ) -> list[Task]:
        """Return all tasks that fit; there is no limit on their number.

        Args:
            task_ids: these tasks; the other arguments are ignored then.
            project_name: exactly this project, or one of these.
            task_name: a regular expression that the name must contain.
            tags: ClearML's list grammar: a tag to have, ``-tag`` not to have, ``__$all`` and its kin.
            allow_archived: whether archived tasks count.
            task_filter: further conditions, see :class:`localtrack.records.filters.Query`.

        Raises:
            TaskNotFoundError: no task has one of the ids.
            InvalidValueError: a filter that can't be understood; names the field.
        """
        ctx = open_context()
        if task_ids:
            listed = [task_ids] if isinstance(task_ids, str) else task_ids
            return [cls._of_id(ctx, _id_of(task_id)) for task_id in listed]
        found = search.places(ctx, search.Search(project_name, task_name, tags, allow_archived, task_filter))
        return cls._of_places(ctx, found)

    @classmethod
    def _of_places(cls, ctx: StoreContext, places: Sequence[tuple[str, str]]) -> list[Task]:
        from localtrack.api.task import Task

        session = current.get()
        own = session.task_id if session is not None else None
        found = []
        for task_id, folder in places:
            if session is not None and task_id == own:
                found.append(cls._of_session(session))
                continue
            task = Task()
            task._bind(ctx, task_id, folder)
            found.append(task)
        return found

    @classmethod
    def get_by_name(cls, task_name: str) -> Task | None:
        """Return the last modified task of exactly that name, in any project; None when there is none."""
        return cls.get_task(task_name=task_name)

    @classmethod
    def get_all(cls, session: Any = None, log: Any = None, **kwargs: Any) -> TasksFound:
        """Return the data of all tasks that fit as ``.response.tasks``; the arguments of ClearML's ``tasks.get_all``.

        Args:
            session: kept for ClearML's signature.
            log: kept for ClearML's signature.
            **kwargs: conditions as in ``task_filter``; ``id`` may be a list; there is no limit without
                ``page_size``; ``only_fields`` is passed over: all are there.

        Raises:
            InvalidValueError: a filter that can't be understood; names the field.
        """
        from localtrack.api.task.transfer import TasksFound

        wanted = {name: value for name, value in kwargs.items() if name != "only_fields"}
        return TasksFound([found.data for found in cls.get_tasks(task_filter=wanted)])

    @classmethod
    def debug_simulate_remote_task(cls, task_id: str, reset_task: bool = False) -> None:
        """Make this process run that task as an agent would: stored inputs go into the script instead of out of it.

        Call it before ``Task.init``, and before the arguments are parsed.

        Args:
            task_id: the task, whose inputs are used.
            reset_task: make it a draft first; what its last run left goes to the trash.

        Raises:
            TaskNotFoundError: no such task.
            UsageError: this process runs a task already, or another one runs that task.
        """
        simulation.adopt(open_context(), task_id, reset=reset_task)

    @classmethod
    def set_random_seed(cls, random_seed: int | None) -> None:
        """Seed random, numpy, torch and tensorflow, those that are imported, now and at each ``Task.init``.

        Nothing is ever seeded without this call; what was seeded is said. None ends it.
        """
        seeds.choose(random_seed)

    def get_random_seed(self) -> int | None:
        """Return the number given to :meth:`set_random_seed`; None without one."""
        return seeds.chosen()

    @classmethod
    def query_tasks(
        cls,
        project_name: str | Sequence[str] | None = None,
        task_name: str | None = None,
        tags: Sequence[str] | None = None,
        additional_return_fields: Sequence[str] | None = None,
        task_filter: Mapping[str, Any] | None = None,
    ) -> list[str] | list[dict[str, Any]]:
        """Return the ids of all tasks that fit, or dicts with the named fields besides ``id``.

        Args:
            project_name: exactly this project, or one of these.
            task_name: a regular expression that the name must contain.
            tags: ClearML's list grammar, as for :meth:`get_tasks`.
            additional_return_fields: fields such as ``name``, ``status``, ``last_update`` (a ``datetime``),
                ``script.repository``, ``hyperparams.Args.lr``, ``last_metrics.loss.train.min_value``; ``parameters``
                and ``metrics`` for all of them.
            task_filter: further conditions; see the page on finding tasks.

        Raises:
            InvalidValueError: a filter that can't be understood; names the field.
        """
        wanted = search.Search(project_name, task_name, tags, True, task_filter)
        if not additional_return_fields:
            return search.ids(open_context(), wanted)
        return search.fields(open_context(), wanted, additional_return_fields)

    @classmethod
    def create(
        cls,
        project_name: str | None = None,
        task_name: str | None = None,
        task_type: str | _TaskTypes | None = None,
        repo: str | None = None,
        branch: str | None = None,
        commit: str | None = None,
        script: str | None = None,
        working_directory: str | None = None,
        packages: bool | Sequence[str] | None = None,
        requirements_file: str | None = None,
        docker: str | None = None,
        docker_args: str | None = None,
        docker_bash_setup_script: str | None = None,
        argparse_args: Sequence[tuple[str, str]] | None = None,
        base_task_id: str | None = None,
        add_task_init_call: bool = True,
        force_single_script_file: bool = False,
        binary: str | None = None,
        module: str | None = None,
        detect_repository: bool = True,
    ) -> Task:
        """File a task as a draft, without running anything.

        Args:
            project_name: the project; that of this process's task without one.
            task_name: the name.
            task_type: a member of ``TaskTypes`` or its name.
            repo: URL or local path of the git repository.
            branch: its branch.
            commit: its commit; that of the branch, or of HEAD, without one.
            script: entry point, relative to the repository's root.
            working_directory: relative to the repository's root.
            packages: kept with the task; agents use their own Python today.
            requirements_file: likewise.
            docker: likewise.
            docker_args: likewise.
            docker_bash_setup_script: likewise.
            argparse_args: ``(name, value)`` pairs for the parameters' section ``Args``.
            base_task_id: clone this task instead.
            add_task_init_call: kept for ClearML's signature; the script calls ``Task.init`` itself.
            force_single_script_file: kept for ClearML's signature.
            binary: kept with the task.
            module: module to run instead of a script.
            detect_repository: kept for ClearML's signature.

        Raises:
            InvalidValueError: no project is given and this process has no task, or the repository has no such commit.
        """
        ctx = open_context()
        if base_task_id:
            record = tasks.clone(ctx, base_task_id, name=task_name, project=project_name)
            return cls._of_id(ctx, record.id)
        project = project_name
        if project is None:
            session = current.get()
            if session is None:
                raise InvalidValueError("Task.create needs project_name, since this process runs no task")
            project = session.record_at_start.project
        fields = starter.script_fields(repo, branch, commit, script, working_directory, module)
        if binary:
            fields["binary"] = binary
        asked = {
            "image": docker, "arguments": docker_args, "setup_script": docker_bash_setup_script,
            "packages": list(packages) if isinstance(packages, (list, tuple)) else packages,
            "requirements_file": requirements_file,
        }  # fmt: skip
        values = starter.argument_entries(argparse_args or ())
        _, record = tasks.create(
            ctx,
            name=task_name or "Untitled",
            project=normal_project(project),
            task_type=task_type,
            script=fields,
            parameters=values,
            container={key: value for key, value in asked.items() if value is not None},
        )
        return cls._of_id(ctx, record.id)

    @classmethod
    def clone(
        cls,
        source_task: Task | str | None = None,
        name: str | None = None,
        comment: str | None = None,
        parent: Task | str | None = None,
        project: str | None = None,
    ) -> Task:
        """Return a draft with a task's code, parameters, configuration and tags, and none of its outputs.

        Args:
            source_task: the task or its id.
            name: the draft's name; ``Clone Of NAME`` without one.
            comment: the draft's comment.
            parent: its parent or the id of that; the source's parent, or the source, without one.
            project: its project; that of the source without one.

        Raises:
            TaskNotFoundError: no such task.
        """
        if source_task is None:
            raise TaskNotFoundError("Task.clone needs source_task: a task or its id")
        ctx = open_context()
        parent_id = None if parent is None else _id_of(parent)
        record = tasks.clone(ctx, _id_of(source_task), name=name, comment=comment, parent=parent_id, project=project)
        return cls._of_id(ctx, record.id)


def _id_of(task: object) -> str:
    """Return the id of a task that is given by it, blanks around it or not, or as itself.

    Raises:
        InvalidValueError: it is neither.
    """
    if isinstance(task, Section):
        return task._id
    if not isinstance(task, str):
        raise InvalidValueError(f"a task is given by its id, a text, not by {task!r:.80}")
    return task.strip()
