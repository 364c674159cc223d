"""What ``Task.init`` decides: adopt the agent's task, attach to the parent's, take up the last one, or make a new one.

Source: ClearML's Task.init, measured; docs/explanation/runs.md.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from localtrack.capture.clearml_package import is_answered
from localtrack.capture.launch import Launch, find_launch
from localtrack.errors import InvalidValueError, LocaltrackError, UsageError
from localtrack.records.ids import normal_project
from localtrack.records.parameters import ENVIRONMENT_SECTION, Entry, entry, parse_text, value_of
from localtrack.records.plain import dataclass, replace
from localtrack.records.status import Status, TaskTypes, parse_type
from localtrack.records.task import STORE_URI, Json, TaskRecord
from localtrack.runtime import current, seeds
from localtrack.runtime.console_capture import stream_choice
from localtrack.runtime.kernels import notebook_file
from localtrack.runtime.monitor import check_monitor_class, monitor_options
from localtrack.runtime.own_words import say
from localtrack.runtime.ownership import CHILD, OWNER, agent_task, claim_run, open_record, parent_of, parents_frameworks
from localtrack.runtime.session import Session, SessionOptions
from localtrack.services import lifecycle, reuse, tasks
from localtrack.services.context import StoreContext, current_user, open_context
from localtrack.services.storage import check_destination
from localtrack.store.documents import now

_ENVIRONMENT_NAME = r"(?!LOCALTRACK_)[^=\0]+"


_lock = threading.RLock()


def _renew_lock() -> None:
    global _lock
    _lock = threading.RLock()  # another thread of the parent may have held it


os.register_at_fork(after_in_child=_renew_lock)


@dataclass(frozen=True, slots=True)
class InitRequest:
    """The arguments of ``Task.init``, by localtrack's own names."""

    project: str | None
    name: str | None
    task_type: str | TaskTypes | None
    tags: tuple[str, ...]
    reuse: bool | str
    resume: bool | str | int
    output_uri: str | bool | os.PathLike[str] | None
    arguments: bool | Mapping[str, bool]
    frameworks: bool | Mapping[str, Any]
    monitor: bool | Mapping[str, Any] | type
    streams: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class Started:
    """A run and the number that is added to its iterations."""

    session: Session
    iteration_offset: int = 0
    is_new: bool = True


def start(request: InitRequest, frame: FrameType) -> Started:
    """Return this process's run, started if there is none yet.

    Raises:
        UsageError: this process already runs a task of another project, name or type.
        InvalidValueError: an argument that can't be understood; nothing is made then.
        StorageError: ``output_uri``, or that of the task that an agent runs here, can't be written; no task is made then.
    """
    kind = parse_type(request.task_type).value
    _options(request, remote=False)
    check_destination(request.output_uri)
    with _lock:  # of several threads that call Task.init, the first starts the run
        return _start_or_join(request, kind, frame)


def _start_or_join(request: InitRequest, kind: str, frame: FrameType) -> Started:
    if (running := current.get()) is not None:
        _check_same(running, request, kind)
        return Started(running, is_new=False)
    attached = attach_to_parent(request.streams, request.frameworks)
    if attached is not None:
        return Started(attached, is_new=False)
    ctx = open_context()
    task_id = agent_task()
    asked = (*_names(request), kind)
    launch = _launch_of(ctx)
    if launch is not None and launch.rank > 0:
        from localtrack.runtime import ranks  # a process on its own need not load them

        found = ranks.join(ctx, launch, asked)
        if found is not None:
            session = ranks.follow(ctx, launch, found, _options(request, remote=bool(task_id)))
            seeds.apply()
            return Started(session, is_new=False)
        request = replace(request, reuse=False, resume=False)
    if is_other_rank() and request.reuse is True:
        request = replace(request, reuse=False)  # the last task of that name may be another rank's
    if task_id:
        return _adopt(ctx, task_id, request, frame)
    if request.output_uri is not None:
        request = replace(request, output_uri=_destination(ctx, request.output_uri))
    started = _start_own(ctx, request, launch, asked, frame)
    if launch is not None and launch.rank == 0:
        from localtrack.runtime import ranks

        ranks.announce(ctx, launch, started.session, started.iteration_offset)
    return started


def _start_own(
    ctx: StoreContext, request: InitRequest, launch: Launch | None, asked: tuple[str, str, str], frame: FrameType
) -> Started:
    """Start the task of this process: taken up again, continued, or a new one."""
    if launch is not None and launch.rank == 0:
        again = _restart(ctx, request, launch, asked, frame)
        if again is not None:
            return again
        if launch.restarts and request.reuse is True:  # the last task is of this very launch
            request = replace(request, reuse=False)
    if request.resume not in (None, "") and request.resume is not False:
        resumed = _resume(ctx, request, *asked, frame)
        if resumed is not None:
            return resumed
    session = _begin(ctx, request, *asked, frame)
    if not is_other_rank():  # what one tracks on its own is never taken up again by rank zero
        reuse.remember(ctx, session.record_at_start)
    return Started(session)


def _restart(
    ctx: StoreContext, request: InitRequest, launch: Launch, asked: tuple[str, str, str], frame: FrameType
) -> Started | None:
    """Go on with the task of a process that torchrun has started anew; it counts iterations by its own checkpoint."""
    from localtrack.runtime.ranks import earlier_attempt

    earlier = earlier_attempt(ctx, launch, asked)
    record = None if earlier is None else tasks.try_read(ctx, earlier.task_id)
    if earlier is None or record is None or record.state in (Status.PUBLISHED, Status.CREATED, Status.QUEUED):
        return None
    session = _run(ctx, tasks.folder_of(ctx, record.id), record, request, frame, remote=False, force=True)
    session.asked = asked
    say(f"torchrun has started this process again: it goes on with task {record.id}")
    return Started(session, earlier.iteration_offset)


def _check_same(running: Session, request: InitRequest, kind: str) -> None:
    if running.role == CHILD or running.options.remote:
        return
    record = running.record_at_start
    wanted = (request.project and normal_project(request.project), request.name)
    known = (running.asked, (record.project, record.name, record.type))
    same = any(wanted[0] in (None, project) and wanted[1] in (None, name) and kind == of for project, name, of in known)
    if not same:
        raise UsageError(
            f"this process already runs the task {record.project}/{record.name} ({record.type}, {record.id}): call its "
            f"close() before Task.init for {request.project}/{request.name} ({kind})",
            task_id=record.id,
        )


def attach_to_parent(
    streams: Mapping[str, bool] | None = None, frameworks: bool | Mapping[str, Any] | None = None
) -> Session | None:
    """In a child process of a run: return a session of its own for the same task; else None.

    Args:
        streams: which are captured; those of a process of ``multiprocessing`` without.
        frameworks: which are watched; those of the parent without.
    """
    parent = parent_of()
    if parent is None:
        return None
    _, task_id, root = parent
    try:
        ctx = open_context(root, create=False)
        folder, record = open_record(ctx, task_id)
    except (LocaltrackError, OSError):
        return None
    if record.state is not Status.IN_PROGRESS:
        return None
    if streams is None:
        # what a subprocess prints may come back through its parent's pipe, what a worker prints never does
        streams = stream_choice(_is_worker())
    if frameworks is None:
        frameworks = parents_frameworks()
    options = SessionOptions(arguments=False, streams=streams, remote=bool(agent_task()), frameworks=frameworks)
    session = Session(ctx, record, folder, CHILD, options)
    session.launch = _launch_of(ctx)
    session.start(None)
    current.put(session)
    return session


def attach() -> Session | None:
    """Return a session for the task that this process belongs to: that of its parent, or of its launch's rank zero."""
    attached = attach_to_parent()
    if attached is not None or not is_other_rank():
        return attached
    try:
        ctx = open_context(create=False)
    except (LocaltrackError, OSError):
        return None
    from localtrack.runtime import ranks

    launch = _launch_of(ctx)
    found = ranks.look(ctx, launch) if launch is not None else None
    return None if launch is None or found is None else ranks.follow(ctx, launch, found)


def _launch_of(ctx: StoreContext) -> Launch | None:
    """Return the launch whose ranks share one task with this process; None when there is none."""
    return find_launch() if ctx.settings.join_ranks else None


def is_other_rank() -> bool:
    """Tell whether the environment says that this process is a rank other than zero."""
    launch = find_launch()
    return launch is not None and launch.rank > 0


def _is_worker() -> bool:
    """Tell whether multiprocessing started this process."""
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None


def _adopt(ctx: StoreContext, task_id: str, request: InitRequest, frame: FrameType) -> Started:
    """Run the task that the agent claimed: names, tags and reuse of the call are ignored."""
    folder, record = open_record(ctx, task_id)
    if record.output_uri not in ("", STORE_URI):  # that this machine has no such place is said before hours of work
        _destination(ctx, record.output_uri)
    os.environ.update(_environment(record))
    session = _run(ctx, folder, record, request, frame, remote=True)
    return Started(session, _offset(session.record_at_start, request))


def _environment(record: TaskRecord) -> dict[str, str]:
    """Return the recorded environment variables, which an agent's run gets as they were; never localtrack's own."""
    prefix = f"{ENVIRONMENT_SECTION}/"
    stored = {key[len(prefix) :]: value_of(item) for key, item in record.parameters.items() if key.startswith(prefix)}
    return {
        name: value
        for name, value in stored.items()
        if isinstance(value, str) and re.fullmatch(_ENVIRONMENT_NAME, name) and "\0" not in value
    }


def _offset(record: TaskRecord, request: InitRequest) -> int:
    """Return what is added to iterations: the number asked for, else what follows the last iteration of the task."""
    if isinstance(request.resume, int) and not isinstance(request.resume, bool):
        return request.resume
    has_reported = any(not title.startswith(":monitor:") for title in record.last_metrics)
    return record.last_iteration + 1 if has_reported else 0


def _resume(
    ctx: StoreContext, request: InitRequest, project: str, name: str, kind: str, frame: FrameType
) -> Started | None:
    """Go on with an earlier run: everything it has stays. None when there is none to go on with."""
    if isinstance(request.resume, str):
        task_id = tasks.resolve(ctx, request.resume)
    elif isinstance(request.reuse, str):
        task_id = tasks.resolve(ctx, request.reuse)
    else:
        task_id = _last_id(ctx, project, name, kind)
        if not task_id:
            say(f"no earlier task {project}/{name} to continue: a new one is made")
            return None
    folder = tasks.folder_of(ctx, task_id)
    record = tasks.read(ctx, task_id, folder)
    if record.state in (Status.PUBLISHED, Status.IN_PROGRESS):
        raise UsageError(
            f"task {task_id} is {record.status} and can't be continued: "
            + ("clone it" if record.state is Status.PUBLISHED else "its process still runs"),
            task_id=task_id,
        )
    session = _run(ctx, folder, record, request, frame, remote=False)
    session.asked = (project, name, kind)
    offset = _offset(session.record_at_start, request)
    say(f"continuing task {task_id} ({record.project}/{record.name}); {offset} is added to iterations")
    return Started(session, offset)


def _last_id(ctx: StoreContext, project: str, name: str, kind: str) -> str:
    task_id = reuse.last_task(ctx, project, name, kind)
    if task_id and tasks.try_read(ctx, task_id) is not None:
        return task_id
    row = tasks.find_by_name(ctx, project, name)
    return row.id if row is not None else ""


def _begin(ctx: StoreContext, request: InitRequest, project: str, name: str, kind: str, frame: FrameType) -> Session:
    task_id = _reusable(ctx, request, project, name, kind)
    if task_id:
        renewed = lifecycle.reset(ctx, task_id, reason="reused", renewed=lambda old: _blank(old, request))
        say(
            f"reusing task {task_id}: what its last run left is in the trash "
            f"(`localtrack restore {renewed.entry}` brings it back; reuse_last_task_id=False keeps runs apart)"
        )
        session = _run(ctx, renewed.folder, renewed.record, request, frame, remote=False)
    else:
        session = _create_running(ctx, request, project, name, kind, frame)
    return session


def _reusable(ctx: StoreContext, request: InitRequest, project: str, name: str, kind: str) -> str:
    if not request.reuse or os.environ.get(reuse.NO_REUSE_VARIABLE) == "1":
        return ""
    task_id = request.reuse if isinstance(request.reuse, str) else reuse.last_task(ctx, project, name, kind)
    return task_id if task_id and reuse.may_reuse(ctx, task_id, project, name, kind) else ""


def _blank(record: TaskRecord, request: InitRequest) -> TaskRecord:
    """Return a reused task without its inputs, which this run records anew."""
    return replace(
        record,
        script={},
        parameters={},
        configuration={},
        container={},
        comment="",
        tags=request.tags,
        input_models=(),
        output_uri=_uri(request, record.output_uri),
    )


def _create_running(
    ctx: StoreContext, request: InitRequest, project: str, name: str, kind: str, frame: FrameType
) -> Session:
    """File a new task that runs from its first generation on: one commit instead of two."""
    at = now()
    from localtrack.records.ids import new_task_id

    draft = TaskRecord(
        id=new_task_id(), name=name, project=project, type=kind, tags=request.tags, system_tags=("development",),
        user=current_user(), created=at, status_changed=at, output_uri=_uri(request), attempt=1,
    )  # fmt: skip
    session = Session(
        ctx, draft, ctx.store.layout.task(project, name, draft.id), OWNER, _options(request, remote=False)
    )
    by = f"{ctx.author.user}@{ctx.author.host}"
    running = draft.with_status(Status.IN_PROGRESS, at=at, by=by, reason="started")
    running = replace(running, owner={**session.writer.identity})
    folder, record = ctx.store.create_task(running, ctx.author)
    if folder != session.folder:
        session = Session(ctx, record, folder, OWNER, session.options)
        record = claim_run(ctx, folder, session, force=False)
    session.record_at_start = record
    _start(session, frame)
    return session


def _run(
    ctx: StoreContext,
    folder: Path,
    record: TaskRecord,
    request: InitRequest,
    frame: FrameType,
    *,
    remote: bool,
    force: bool = False,
) -> Session:
    session = Session(ctx, record, folder, OWNER, _options(request, remote=remote))
    session.record_at_start = claim_run(ctx, folder, session, force=remote or force)
    if (request.tags or request.output_uri is not None) and not remote:
        session.update(lambda old: _with_asked(old, request), "asked for by Task.init")
    _start(session, frame)
    return session


def _start(session: Session, frame: FrameType) -> None:
    current.put(session)
    try:
        session.start(frame)
    except BaseException:
        current.put(None)
        raise
    seeds.apply()
    record = session.record_at_start
    say(f"task {record.id} ({record.project}/{record.name}) in {session.folder}")


def _options(request: InitRequest, *, remote: bool) -> SessionOptions:
    monitor = None
    if isinstance(request.monitor, type):
        check_monitor_class(request.monitor)
    elif request.monitor:
        monitor = monitor_options(request.monitor if isinstance(request.monitor, Mapping) else {})
    return SessionOptions(request.arguments, request.streams, monitor, remote, request.frameworks)


def _with_asked(record: TaskRecord, request: InitRequest) -> TaskRecord:
    """Return a task that is taken up again with what the call adds to it."""
    tags = tuple(dict.fromkeys((*record.tags, *request.tags)))
    return replace(record, tags=tags, output_uri=_uri(request, record.output_uri))


def _uri(request: InitRequest, known: str = "") -> str:
    return known if request.output_uri is None else str(request.output_uri)


def _destination(ctx: StoreContext, value: str | bool | os.PathLike[str]) -> str:
    """Return what is recorded of ClearML's ``output_uri``, in the one spelling that all of its setters give it."""
    from localtrack.services.weights import destination  # most runs do without

    return destination(ctx, value)


def _names(request: InitRequest) -> tuple[str, str]:
    script = notebook_file() or Path(getattr(sys.modules.get("__main__"), "__file__", None) or sys.argv[0] or "python")
    name = request.name if request.name is not None else script.stem or "python"
    project = normal_project(request.project or "") or _repository_name(script) or tasks.UNTITLED
    return project, name


def _repository_name(script: Path) -> str:
    """Return the last part of the repository's URL, or its folder's name; ``""`` outside of git."""
    try:
        start = script.resolve().parent
    except OSError:
        return ""
    for folder in (start, *start.parents):
        config = folder / ".git" / "config"
        if (folder / ".git").exists():
            try:
                match = re.search(r'\[remote "origin"\][^\[]*?url\s*=\s*(\S+)', config.read_text(errors="replace"))
            except OSError:
                match = None
            return (match[1].rstrip("/").rsplit("/", 1)[-1].removesuffix(".git") if match else "") or folder.name
    return ""


def script_fields(
    repo: str | None, branch: str | None, commit: str | None, script: str | None, folder: str | None, module: str | None
) -> Json:
    """Return the ``script`` record of a task that is made by hand; a local repository without a commit gives its own.

    Raises:
        InvalidValueError: a repository without a commit that could be run; a URL needs one to be named.
    """
    local = (
        Path(repo).expanduser().absolute() if repo and "://" not in repo and Path(repo).expanduser().is_dir() else None
    )
    if repo and not commit:
        commit = _commit_of(local, repo, branch)
    return {
        "repository": "" if local else repo or "", "root": str(local) if local else "", "branch": branch or "",
        "commit": commit or "", "entry_point": f"-m {module}" if module else script or "",
        "working_dir": folder or ".", "argv": [], "as_clearml": is_answered(), "diff": None, "source": None, "bundle": None,
    }  # fmt: skip


def _commit_of(local: Path | None, repo: str, branch: str | None) -> str:
    from localtrack.capture.git_command import run_git

    if local is None:
        answer = run_git(["ls-remote", repo, branch or "HEAD"], Path("/"))
    else:
        answer = run_git(["rev-parse", "--verify", "-q", f"{branch or 'HEAD'}^{{commit}}"], local)
    commit = answer.stdout.decode("ascii", "replace").split()[:1]
    if answer.returncode != 0 or not commit:
        raise InvalidValueError(
            f"repository {repo} has no commit at {branch or 'HEAD'} ({answer.message or 'nothing there'}): name a commit",
            repo=repo,
        )
    return commit[0]


def argument_entries(pairs: Sequence[tuple[str, str]]) -> dict[str, Entry]:
    """Return stored entries of the section ``Args`` for ``(name, value)`` pairs.

    Raises:
        InvalidValueError: something else than pairs.
    """
    try:
        return {f"Args/{name}": entry(parse_text(v) if isinstance(v, str) else v) for name, v in pairs}
    except (TypeError, ValueError):
        raise InvalidValueError("argparse_args must be a list of (name, value) pairs") from None
