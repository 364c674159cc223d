"""Optuna: a callback for ``study.optimize`` that records the study in one task, or each trial in a task of its own.

::

    from localtrack.integrations.optuna import LocaltrackCallback

    study.optimize(objective, n_trials=20, callbacks=[LocaltrackCallback("search", "first")])

Source: docs/how-to/integrations.md; optuna.study.Study.optimize; optuna_integration's callbacks.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optuna.exceptions import TrialPruned
from optuna.study import Study, StudyDirection
from optuna.trial import TrialState

from localtrack.errors import UsageError
from localtrack.integrations.hold import TaskHold, number_of
from localtrack.integrations.scopes import wrap
from localtrack.runtime.patches import argument

if TYPE_CHECKING:
    from localtrack.api.task import Task

OBJECTIVE, BEST, PARAMETERS, TRIALS = "objective", "best", "parameters", "trials"
_CALLBACKS_AT = 6


class LocaltrackCallback:
    """Records a study's trials.

    In one task, by default: curves over the trials' numbers of the objective, of the best value so far, and of each parameter
    that is a number; at the end of ``optimize`` a table of all trials and the best one. With ``as_multirun`` every finished
    trial is a task of its own, with the trial's parameters and values.

    Args:
        project: project of the tasks that are started here.
        name: name of the study's task, and the first part of the trials'; the study's own without one.
        metric_name: what the objective's values are called; those that ``study.set_metric_names`` gave, else ``value``.
        as_multirun: a task a trial.
        init: further arguments for ``Task.init``, when a task is started here.
    """

    def __init__(
        self,
        project: str | None = None,
        name: str | None = None,
        *,
        metric_name: str | Sequence[str] = "value",
        as_multirun: bool = False,
        init: Mapping[str, Any] | None = None,
    ) -> None:
        self._project = project
        self._name = name
        self._metric_name = metric_name
        self._as_multirun = as_multirun
        self._init = init
        self._hold: TaskHold | None = None
        self._best: Any = None
        self._tracked: dict[tuple[str, int], TaskHold] = {}
        self._lock = threading.Lock()

    def __call__(self, study: Any, trial: Any) -> None:
        """Record a trial that has ended; called by Optuna."""
        with self._lock:  # trials may run in threads
            if self._as_multirun:
                self._record_alone(study, trial)
            else:
                self._record(study, trial)

    def track(self, objective: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Let each call of an objective run in its trial's task, so that all that happens in it is captured there.

        It is for ``as_multirun``, with trials one after another: a process runs one task at a time, and what it runs when the
        trial begins is the one where all is captured.

        Raises:
            UsageError: without ``as_multirun``.
        """
        if not self._as_multirun:
            raise UsageError("track is for LocaltrackCallback(as_multirun=True): without it all is in the study's task")

        @functools.wraps(objective)
        def tracked(trial: Any) -> Any:
            from localtrack.api.task import Task

            if Task.current_task() is not None:
                return objective(trial)
            hold = self._new_hold(trial.study, f"trial {trial.number}")
            task = hold.start()
            self._tracked[trial.study.study_name, trial.number] = hold
            try:
                result = objective(trial)
            except BaseException as error:
                hold.parameters(trial.params)
                is_pruned = isinstance(error, TrialPruned)
                if is_pruned and task is not None:
                    task.mark_stopped()
                hold.ended(None if is_pruned else error)
                raise
            hold.parameters(trial.params)
            return result

        return tracked

    def begin(self, study: Any) -> None:
        """At the beginning of ``optimize``: start the study's task, if there is none."""
        if self._as_multirun:
            return
        self._hold = self._hold or self._new_hold(study)
        self._best = _best_of(study, study.get_trials(deepcopy=False))
        if self._hold.start() is not None:
            facts = {
                "study_name": study.study_name, "directions": [direction.name.lower() for direction in study.directions],
                "sampler": type(study.sampler).__name__, "pruner": type(study.pruner).__name__,
            }  # fmt: skip
            self._hold.parameters(facts, "Study")

    def end(self, study: Any, error: BaseException | None) -> None:
        """At the end of ``optimize``: report the table and the best trial; close the task if it was started here."""
        if self._hold is None or self._hold.task is None:
            return
        hold = self._hold
        hold.attempt("table of trials", lambda: self._report_table(study, hold))
        best = self._best
        if best is not None:
            hold.single_value(f"best {self._names(study)[0]}", best.value)
            hold.single_value("best trial", best.number)
            found = {"number": best.number, "value": best.value, "params": best.params}
            task = hold.task
            assert task is not None
            hold.attempt("best trial", lambda: task.upload_artifact("best trial", found))
        hold.ended(error)

    def _record(self, study: Any, trial: Any) -> None:
        if self._hold is None or self._hold.task is None:
            self.begin(study)
        hold = self._hold
        assert hold is not None
        # of a pruned trial the value is what it reported last
        values = trial.values if trial.state == TrialState.COMPLETE else ()
        for name, value in zip(self._names(study), values, strict=False):
            hold.scalar(OBJECTIVE, name, value, trial.number, is_absolute=True)
        self._best = _best_of(study, [one for one in (self._best, trial) if one is not None])
        if self._best is not None and values:
            hold.scalar(BEST, self._names(study)[0], self._best.value, trial.number, is_absolute=True)
        for name, value in trial.params.items():
            hold.scalar(PARAMETERS, name, value, trial.number, is_absolute=True)

    def _record_alone(self, study: Any, trial: Any) -> None:
        from localtrack.api.task import Task

        hold = self._tracked.pop((study.study_name, trial.number), None)
        if hold is None:
            parent = Task.current_task()
            task = Task.create(self._project or _project_of(parent), self._name_of(study, f"trial {trial.number}"))
            if parent is not None:
                task.set_parent(parent)
            task.set_parameters({f"General/{name}": value for name, value in trial.params.items()})
            task.mark_started()
        else:
            known = hold.latest
            if known is None:  # another rank
                return
            task = known
        self._report_trial(study, trial, task)
        if hold is None:
            ends: dict[Any, Callable[[], object]] = {
                TrialState.PRUNED: task.mark_stopped,
                TrialState.FAIL: task.mark_failed,
            }
            ends.get(trial.state, task.mark_completed)()
        else:
            hold.release()

    def _report_trial(self, study: Any, trial: Any, task: Task) -> None:
        logger = task.get_logger()
        names = self._names(study)
        for name, value in zip(names, trial.values or (), strict=False):
            logger.report_single_value(name, value)
        for step, value in sorted(trial.intermediate_values.items()):
            logger.report_scalar(names[0], "intermediate", value, step)
        task.add_tags([study.study_name, trial.state.name.lower()])
        task.flush()

    def _report_table(self, study: Any, hold: TaskHold) -> None:
        trials = study.get_trials(deepcopy=False)
        names, parameters = self._names(study), sorted({name for trial in trials for name in trial.params})
        rows: list[list[Any]] = [["number", "state", *names, *parameters]]
        for trial in trials:
            values = list(trial.values or ())
            values += [None] * (len(names) - len(values))
            rows.append(
                [trial.number, trial.state.name.lower(), *values, *(trial.params.get(key) for key in parameters)]
            )
        task = hold.task
        assert task is not None
        task.get_logger().report_table(TRIALS, "all", iteration=0, table_plot=rows)

    def _names(self, study: Any) -> list[str]:
        """Return a name for each of the objective's values."""
        count = len(study.directions)
        given = [self._metric_name] if isinstance(self._metric_name, str) else list(self._metric_name)
        if given == ["value"]:
            given = list(getattr(study, "metric_names", None) or given)
        return given if len(given) == count else [f"{given[0]} {number}" for number in range(count)]

    def _new_hold(self, study: Any, part: str = "") -> TaskHold:
        return TaskHold(self._project, self._name_of(study, part), init=self._init)

    def _name_of(self, study: Any, part: str) -> str:
        return " ".join(filter(None, (self._name or str(study.study_name), part)))


def _best_of(study: Any, trials: Sequence[Any]) -> Any:
    """Return the best of some trials of a study with one objective; the first of equals, None where there is none."""
    if len(study.directions) != 1:
        return None
    is_max = study.direction == StudyDirection.MAXIMIZE
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    known = [trial for trial in done if number_of(trial.value) is not None]
    return max(known, key=lambda trial: trial.value if is_max else -trial.value, default=None)


def _project_of(parent: Task | None) -> str:
    return "optuna" if parent is None else parent.get_project_name()


def _optimize(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    parties = [
        one for one in argument(args, kwargs, _CALLBACKS_AT, "callbacks") or () if isinstance(one, LocaltrackCallback)
    ]
    error: BaseException | None = None
    for party in parties:
        party.begin(args[0])
    try:
        return call(*args, **kwargs)
    except BaseException as raised:
        error = raised
        raise
    finally:
        for party in parties:
            party.end(args[0], error)


wrap(Study, ("optimize",), _optimize)
