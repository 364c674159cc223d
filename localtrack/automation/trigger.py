"""Starts tasks and functions when something happens to tasks or models.

Source: ClearML's clearml.automation.TriggerScheduler; docs/how-to/schedule.md.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from localtrack.automation.schedule_job import BaseScheduleJob, LaunchDetails
from localtrack.automation.scheduling import BaseScheduler, id_of, unique_name
from localtrack.errors import InvalidValueError
from localtrack.records.ids import normal_project
from localtrack.records.status import Status, TaskStatusEnum, TaskTypes
from localtrack.services import search
from localtrack.services.context import StoreContext, open_context
from localtrack.services.search import Search
from localtrack.store.documents import seconds, stamp

if TYPE_CHECKING:
    from localtrack.api.task import Task
    from localtrack.index.rows import Row

SLACK_S = 600.0
HIGH_SIGNS, LOW_SIGNS = ("max", "maximum"), ("min", "minimum")


@dataclass
class BaseTrigger(BaseScheduleJob):
    """What is started when an object comes to fit a description.

    Attributes:
        project: only objects of exactly this project.
        match_name: a regular expression that their name must contain.
        tags: all of these.
        required_tags: all of these as well.
        add_tag: tag of what is started.
    """

    project: str | None = None
    match_name: str | None = None
    tags: list[str] | None = None
    required_tags: list[str] | None = None
    add_tag: str | None = None
    _since: str = ""
    _seen: dict[str, str] = field(default_factory=dict)

    kind: ClassVar[str] = ""
    _EDITABLE: ClassVar[tuple[str, ...]] = (
        *BaseScheduleJob._EDITABLE, "project", "match_name", "tags", "required_tags", "add_tag",
    )  # fmt: skip

    def verify(self) -> None:
        """Refuse what can't be started, or can't be looked for.

        Raises:
            InvalidValueError: names what is wrong.
        """
        super().verify()
        for name in ("tags", "required_tags"):
            value = getattr(self, name)
            if value and (isinstance(value, str) or not all(isinstance(tag, str) for tag in value)):
                raise InvalidValueError(f"trigger {self.name!r}: {name} must be a list of texts, not {value!r}")
        try:
            re.compile(self.match_name or "")
        except re.error as error:
            raise InvalidValueError(f"trigger {self.name!r}: trigger_name {self.match_name!r}: {error}") from None

    def find(self, ctx: StoreContext) -> dict[str, str]:
        """Return when each object that fits now was changed last, by id."""
        raise NotImplementedError(f"{type(self).__name__}.find")

    def _all_tags(self) -> set[str]:
        return {*(self.tags or ()), *(self.required_tags or ())}

    def _search(self, **conditions: Any) -> Search:
        tags = sorted(self._all_tags())
        return Search(
            self.project, self.match_name, ["__$all", *tags] if tags else None, task_filter={**conditions} or None
        )  # fmt: skip


@dataclass
class ModelTrigger(BaseTrigger):
    """A trigger on models.

    Attributes:
        on_publish: only published ones.
        on_archive: only archived ones.
    """

    on_publish: bool | None = None
    on_archive: bool | None = None

    kind: ClassVar[str] = "model"
    _EDITABLE: ClassVar[tuple[str, ...]] = (*BaseTrigger._EDITABLE, "on_publish", "on_archive")

    def find(self, ctx: StoreContext) -> dict[str, str]:
        """Return when each model that fits now was changed last, by id."""
        project = normal_project(self.project) if self.project else ""
        changed = {}
        for row in ctx.models.rows():
            record = row.record
            fits = (not project or record.project == project) and re.search(self.match_name or "", record.name)
            if not fits or not self._all_tags() <= set(record.tags):
                continue
            if (self.on_publish and not record.published) or (self.on_archive and not row.archived):
                continue
            changed[record.id] = record.last_update
        return changed


@dataclass
class DatasetTrigger(BaseTrigger):
    """A trigger on datasets: tasks of type ``data_processing`` that completed.

    Attributes:
        on_publish: only published ones.
        on_archive: only archived ones.
    """

    on_publish: bool | None = None
    on_archive: bool | None = None

    kind: ClassVar[str] = "dataset"
    _EDITABLE: ClassVar[tuple[str, ...]] = (*BaseTrigger._EDITABLE, "on_publish", "on_archive")

    def find(self, ctx: StoreContext) -> dict[str, str]:
        """Return when each dataset that fits now was changed last, by id."""
        status = Status.PUBLISHED.value if self.on_publish else Status.COMPLETED.value
        rows = search.find(ctx, self._search(type=[TaskTypes.data_processing.value], status=[status]))
        return {row.id: row.last_update for row in rows if not self.on_archive or "archived" in row.system_tags}


@dataclass
class TaskTrigger(BaseTrigger):
    """A trigger on tasks.

    Attributes:
        metrics: graph of the scalar to watch.
        variant: line of it.
        threshold: the value that it must reach.
        value_sign: ``max`` for at least that, ``min`` for at most.
        exclude_dev: leave out tasks that were run by hand.
        on_status: one of these states.
    """

    metrics: str | None = None
    variant: str | None = None
    threshold: float | None = None
    value_sign: str | None = None
    exclude_dev: bool | None = None
    on_status: list[str] | None = None

    kind: ClassVar[str] = "task"
    _EDITABLE: ClassVar[tuple[str, ...]] = (
        *BaseTrigger._EDITABLE, "metrics", "variant", "threshold", "value_sign", "exclude_dev", "on_status",
    )  # fmt: skip

    def verify(self) -> None:
        """Refuse what can't be started, or can't be looked for.

        Raises:
            InvalidValueError: names what is wrong.
        """
        super().verify()
        given = [self.metrics, self.variant, self.threshold]
        if any(value is not None for value in given) and any(value is None for value in given):
            raise InvalidValueError(
                f"trigger {self.name!r}: trigger_on_metric, trigger_on_variant and trigger_on_threshold go together"
            )
        if self.value_sign and self.value_sign.lower() not in HIGH_SIGNS + LOW_SIGNS:
            raise InvalidValueError(
                f"trigger {self.name!r}: trigger_on_sign is one of {', '.join(HIGH_SIGNS + LOW_SIGNS)}, not {self.value_sign!r}"
            )
        wanted = [self.on_status] if isinstance(self.on_status, str) else self.on_status or []
        unknown = {str(one) for one in wanted} - {str(one) for one in TaskStatusEnum}
        if unknown:
            raise InvalidValueError(f"trigger {self.name!r}: no status {min(unknown)!r}: use one of "
                                    f"{', '.join(map(str, TaskStatusEnum))}")  # fmt: skip

    def find(self, ctx: StoreContext) -> dict[str, str]:
        """Return when each task that fits now was changed last, by id."""
        wanted = [self.on_status] if isinstance(self.on_status, str) else self.on_status
        conditions = {"status": [str(one) for one in wanted]} if wanted else {}
        rows = search.find(ctx, self._search(**conditions))
        return {row.id: self._changed(row) for row in rows if self._fits(row)}

    def _fits(self, row: Row) -> bool:
        if self.exclude_dev and "development" in row.system_tags:
            return False
        if self.threshold is None:
            return True
        summary = row.metrics.get(str(self.metrics), {}).get(str(self.variant))
        is_high = (self.value_sign or LOW_SIGNS[0]).lower() in HIGH_SIGNS
        value = summary.get("max" if is_high else "min") if summary else None
        if not isinstance(value, (int, float)):
            return False
        return value >= self.threshold if is_high else value <= self.threshold

    @staticmethod
    def _changed(row: Row) -> str:
        """Return when a task was changed last; one that was lost changes without a word, at no known time."""
        return "" if row.status_reason == "lost" else row.last_update


class TriggerScheduler(BaseScheduler):
    """Starts tasks and functions when a task or a model comes to fit a description: once for each of them.

    Without a task of this process it makes its own, as :class:`TaskScheduler` does: what happened while it was not
    running is found when it is started again.

    Args:
        pooling_frequency_minutes: minutes between two looks at the store.
        sync_frequency_minutes: minutes between two updates of the tables in its task.
        force_create_task_name: name of its own task.
        force_create_task_project: project of its own task.
    """

    _configuration_section = "triggers"

    def __init__(
        self,
        pooling_frequency_minutes: float = 3.0,
        sync_frequency_minutes: float = 15,
        force_create_task_name: str | None = None,
        force_create_task_project: str | None = None,
    ) -> None:
        self._triggers: list[BaseTrigger] = []
        super().__init__(
            sync_frequency_minutes, force_create_task_name, force_create_task_project, pooling_frequency_minutes
        )

    def add_model_trigger(
        self,
        schedule_task_id: str | Task | None = None,
        schedule_queue: str | None = None,
        schedule_function: Callable[[str], object] | None = None,
        trigger_project: str | None = None,
        trigger_name: str | None = None,
        trigger_on_publish: bool | None = None,
        trigger_on_tags: list[str] | None = None,
        trigger_on_archive: bool | None = None,
        trigger_required_tags: list[str] | None = None,
        name: str | None = None,
        target_project: str | None = None,
        add_tag: bool | str = True,
        single_instance: bool = False,
        reuse_task: bool = False,
        task_parameters: dict[str, Any] | None = None,
        task_overrides: dict[str, Any] | None = None,
    ) -> None:
        """Start something when a model comes to fit.

        Args:
            schedule_task_id: the task, of which a clone is started.
            schedule_queue: where the clone goes.
            schedule_function: a function, called with the model's id in a thread of this process.
            trigger_project: only models of exactly this project.
            trigger_name: a regular expression that the model's name must contain.
            trigger_on_publish: only published models.
            trigger_on_tags: models that have all of these tags.
            trigger_on_archive: only archived models.
            trigger_required_tags: these tags as well.
            name: tells it from others, over restarts.
            target_project: project of the clone.
            add_tag: tag of the clone; True for the trigger's name.
            single_instance: wait for the end of what was started before.
            reuse_task: start the task itself again, which is reset for that.
            task_parameters: parameters of the clone; the value ``${model.id}`` is the model's id.
            task_overrides: other fields of the clone by ClearML's dotted names.

        Raises:
            InvalidValueError: nothing to start, no queue, or a name that is taken.
        """
        self._add(
            ModelTrigger, name, schedule_task_id, schedule_function, schedule_queue, add_tag, reuse_task,
            target_project=target_project, single_instance=bool(single_instance), task_parameters=dict(task_parameters or {}),
            task_overrides=dict(task_overrides or {}), project=trigger_project, match_name=trigger_name,
            tags=trigger_on_tags, required_tags=trigger_required_tags, on_publish=trigger_on_publish,
            on_archive=trigger_on_archive,
        )  # fmt: skip

    def add_dataset_trigger(
        self,
        schedule_task_id: str | Task | None = None,
        schedule_queue: str | None = None,
        schedule_function: Callable[[str], object] | None = None,
        trigger_project: str | None = None,
        trigger_name: str | None = None,
        trigger_on_publish: bool | None = None,
        trigger_on_tags: list[str] | None = None,
        trigger_on_archive: bool | None = None,
        trigger_required_tags: list[str] | None = None,
        name: str | None = None,
        target_project: str | None = None,
        add_tag: bool | str = True,
        single_instance: bool = False,
        reuse_task: bool = False,
        task_parameters: dict[str, Any] | None = None,
        task_overrides: dict[str, Any] | None = None,
    ) -> None:
        """Start something when a task that makes data, of type ``data_processing``, has completed and fits.

        Args:
            schedule_task_id: see :meth:`add_model_trigger`, for all of them.
            schedule_queue: likewise.
            schedule_function: likewise; it is called with the task's id.
            trigger_project: likewise.
            trigger_name: likewise.
            trigger_on_publish: only published ones.
            trigger_on_tags: likewise.
            trigger_on_archive: only archived ones.
            trigger_required_tags: likewise.
            name: likewise.
            target_project: likewise.
            add_tag: likewise.
            single_instance: likewise.
            reuse_task: likewise.
            task_parameters: likewise; the value ``${dataset.id}`` is the task's id.
            task_overrides: likewise.

        Raises:
            InvalidValueError: nothing to start, no queue, or a name that is taken.
        """
        self._add(
            DatasetTrigger, name, schedule_task_id, schedule_function, schedule_queue, add_tag, reuse_task,
            target_project=target_project, single_instance=bool(single_instance), task_parameters=dict(task_parameters or {}),
            task_overrides=dict(task_overrides or {}), project=trigger_project, match_name=trigger_name,
            tags=trigger_on_tags, required_tags=trigger_required_tags, on_publish=trigger_on_publish,
            on_archive=trigger_on_archive,
        )  # fmt: skip

    def add_task_trigger(
        self,
        schedule_task_id: str | Task | None = None,
        schedule_queue: str | None = None,
        schedule_function: Callable[[str], object] | None = None,
        trigger_project: str | None = None,
        trigger_name: str | None = None,
        trigger_on_tags: list[str] | None = None,
        trigger_on_status: list[str] | None = None,
        trigger_exclude_dev_tasks: bool | None = None,
        trigger_on_metric: str | None = None,
        trigger_on_variant: str | None = None,
        trigger_on_threshold: float | None = None,
        trigger_on_sign: str | None = None,
        trigger_required_tags: list[str] | None = None,
        name: str | None = None,
        target_project: str | None = None,
        add_tag: bool | str = True,
        single_instance: bool = False,
        reuse_task: bool = False,
        task_parameters: dict[str, Any] | None = None,
        task_overrides: dict[str, Any] | None = None,
    ) -> None:
        """Start something when a task comes to fit.

        Args:
            schedule_task_id: see :meth:`add_model_trigger`, for those that are not named here.
            schedule_queue: likewise.
            schedule_function: likewise; it is called with the task's id.
            trigger_project: likewise.
            trigger_name: likewise.
            trigger_on_tags: likewise.
            trigger_on_status: tasks in one of these states, such as ``["failed", "published"]``.
            trigger_exclude_dev_tasks: leave out tasks that were run by hand.
            trigger_on_metric: graph of a scalar.
            trigger_on_variant: line of it.
            trigger_on_threshold: value that it has reached at any time.
            trigger_on_sign: ``max`` for at least the threshold, ``min`` for at most; ``min`` without one.
            trigger_required_tags: likewise.
            name: likewise.
            target_project: likewise.
            add_tag: likewise.
            single_instance: likewise.
            reuse_task: likewise.
            task_parameters: likewise; the value ``${task.id}`` is the task's id.
            task_overrides: likewise.

        Raises:
            InvalidValueError: nothing to start, no queue, a part of a metric, an unknown state, or a name that is taken.
        """
        self._add(
            TaskTrigger, name, schedule_task_id, schedule_function, schedule_queue, add_tag, reuse_task,
            target_project=target_project, single_instance=bool(single_instance), task_parameters=dict(task_parameters or {}),
            task_overrides=dict(task_overrides or {}), project=trigger_project, match_name=trigger_name,
            tags=trigger_on_tags, required_tags=trigger_required_tags, on_status=trigger_on_status,
            exclude_dev=trigger_exclude_dev_tasks, metrics=trigger_on_metric, variant=trigger_on_variant,
            threshold=trigger_on_threshold, value_sign=trigger_on_sign,
        )  # fmt: skip

    def get_triggers(self) -> list[BaseTrigger]:
        """Return all triggers: of models, datasets and tasks."""
        return list(self._triggers)

    def _add(
        self, kind: type[BaseTrigger], name: str | None, task: str | Task | None, function: Callable[[str], object] | None,
        queue: str | None, add_tag: bool | str, reuse: bool, **fields: Any,
    ) -> None:  # fmt: skip
        what = id_of(task) or getattr(function, "__qualname__", "function")
        trigger = kind(
            name=unique_name(name, f"{kind.kind} trigger of {what}", self._triggers), base_task_id=id_of(task),
            base_function=function, queue=queue, clone_task=not reuse, **fields,
        )  # fmt: skip
        trigger.add_tag = add_tag if isinstance(add_tag, str) else trigger.name if add_tag else None
        trigger.verify()
        self._warn_of_missing(trigger)
        self._triggers.append(trigger)

    def _jobs(self) -> Sequence[BaseTrigger]:
        return self._triggers

    def _plan(self) -> list[str]:
        return [f"{one.name!r} looks at {one.kind}s" for one in self._triggers]

    def _step(self) -> float:
        ctx = open_context()
        for trigger in self._triggers:
            found = trigger.find(ctx)
            if not trigger._since:
                self._begin(trigger, found)
            limit = stamp(max(0.0, seconds(trigger._since) - SLACK_S))
            news = [one for one, at in found.items() if one not in trigger._seen and (not at or at > limit)]
            for object_id in sorted(news, key=lambda one: found[one]):
                self._fire(trigger, object_id)
            if all(object_id in trigger._seen for object_id in news):  # else it is looked for again
                trigger._since = max([trigger._since, *found.values()])
        return min((self._pooling_frequency_minutes or 3.0) * 60.0, self._end_overdue())

    def _begin(self, trigger: BaseTrigger, found: Mapping[str, str]) -> None:
        """Let a new trigger look at what happens from now on; the clocks of the hosts may differ by some minutes."""
        trigger._since = stamp(self._clock().timestamp())
        limit = stamp(seconds(trigger._since) - SLACK_S)
        trigger._seen = {one: at for one, at in found.items() if not at or at > limit}
        self._save()

    def _details(self, job: BaseScheduleJob, trigger: str) -> LaunchDetails:
        assert isinstance(job, BaseTrigger)
        word = f"${{{job.kind}.id}}"
        parameters = {name: trigger if value == word else value for name, value in job.task_parameters.items()}
        return LaunchDetails(parameters, (job.add_tag,) if job.add_tag else (), (trigger,))

    def _settle(self, job: BaseScheduleJob, at: dt.datetime, trigger: str, *, skipped: bool) -> None:
        if isinstance(job, BaseTrigger) and not skipped:
            job._seen[trigger] = ""

    def _state(self) -> dict[str, Any]:
        return {"triggers": {one.name: {"since": one._since, "seen": list(one._seen)} for one in self._triggers}}

    def _restore(self, state: Mapping[str, Any]) -> None:
        known = state.get("triggers") or {}
        for trigger in self._triggers:
            kept = known.get(trigger.name)
            if isinstance(kept, Mapping):
                trigger._since = str(kept.get("since") or "")
                trigger._seen = dict.fromkeys(map(str, kept.get("seen") or ()), "")

    def _tables(self) -> Mapping[str, list[list[Any]]]:
        rows: list[list[Any]] = [["name", "of", "project", "tags", "task or function", "queue", "fired for"]]
        for one in self._triggers:
            what = one.base_task_id or getattr(one.base_function, "__qualname__", "")
            tags = ", ".join(sorted(one._all_tags()))
            rows.append(
                [one.name, one.kind, one.project or "", tags, what, one.queue or "", len(one._executed_instances)]
            )
        return {"triggers": rows}
