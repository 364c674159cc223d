"""``OptimizerOptuna``: asks optuna for parameters, tells it the results.

Source: optuna's ask-and-tell interface; ClearML's OptimizerOptuna.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from localtrack.automation.job import BaseJob, read_metric
from localtrack.automation.objective import MultiObjective, Objective, objectives_of, ranked
from localtrack.automation.parameters import (
    DiscreteParameterRange,
    LogUniformParameterRange,
    Parameter,
    ParameterSet,
    RandomSeed,
    UniformIntegerParameterRange,
    UniformParameterRange,
)
from localtrack.automation.strategy import LOG, SearchStrategy
from localtrack.errors import InvalidValueError, MissingExtraError, TaskNotFoundError
from localtrack.services.search import Search, find

try:
    import optuna
    from optuna.distributions import distribution_to_json, json_to_distribution
    from optuna.trial import TrialState
except ImportError:
    raise MissingExtraError(
        "OptimizerOptuna needs the package optuna: pip install 'localtrack[hpo]'; RandomSearch and GridSearch need nothing"
    ) from None

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.study import Study

_CATEGORIES = (str, int, float, bool, type(None))


class OptimizerOptuna(SearchStrategy):
    """A search by an optuna study: each job is one of its trials.

    Args:
        base_task_id: see :class:`SearchStrategy`, for this and all others that are not named here.
        hyper_parameters: likewise.
        objective_metric: likewise.
        execution_queue: likewise.
        num_concurrent_workers: likewise.
        max_iteration_per_job: likewise.
        total_max_jobs: likewise.
        pool_period_min: likewise.
        min_iteration_per_job: likewise.
        time_limit_per_job: likewise.
        compute_time_limit: likewise.
        optuna_sampler: what chooses; optuna's own choice without one, seeded by :class:`RandomSeed`.
        optuna_pruner: what gives up bad jobs, by one objective only; optuna's own choice without one.
        continue_previous_study: a study to go on with; its trials count for what is tried next.
        **optuna_kwargs: further arguments of ``optuna.create_study``.

    Raises:
        MissingExtraError: at import: optuna is not installed.
    """

    def __init__(
        self,
        base_task_id: str,
        hyper_parameters: Sequence[Parameter],
        objective_metric: Objective | MultiObjective,
        execution_queue: str,
        num_concurrent_workers: int,
        max_iteration_per_job: int | None = None,
        total_max_jobs: int | None = None,
        pool_period_min: float = 2.0,
        min_iteration_per_job: int | None = None,
        time_limit_per_job: float | None = None,
        compute_time_limit: float | None = None,
        optuna_sampler: Any = None,
        optuna_pruner: Any = None,
        continue_previous_study: Study | None = None,
        **optuna_kwargs: Any,
    ) -> None:
        super().__init__(
            base_task_id=base_task_id, hyper_parameters=hyper_parameters, objective_metric=objective_metric,
            execution_queue=execution_queue, num_concurrent_workers=num_concurrent_workers,
            pool_period_min=pool_period_min, time_limit_per_job=time_limit_per_job,
            compute_time_limit=compute_time_limit, min_iteration_per_job=min_iteration_per_job,
            max_iteration_per_job=max_iteration_per_job, total_max_jobs=total_max_jobs,
        )  # fmt: skip
        self._objectives = objectives_of(objective_metric)
        self._trials: dict[str, optuna.Trial] = {}
        self._reported: dict[str, int] = {}
        self._pruned: set[str] = set()
        self.study = continue_previous_study or self._new_study(optuna_sampler, optuna_pruner, optuna_kwargs)

    def _new_study(self, sampler: BaseSampler | None, pruner: Any, options: Mapping[str, Any]) -> Study:
        directions = ["maximize" if one.sign > 0 else "minimize" for one in self._objectives]
        if sampler is None:
            seed = RandomSeed.get_random_seed()
            is_one = len(directions) == 1
            sampler = optuna.samplers.TPESampler(seed=seed) if is_one else optuna.samplers.NSGAIISampler(seed=seed)
        return optuna.create_study(directions=directions, sampler=sampler, pruner=pruner, **options)

    def create_job(self) -> BaseJob:
        """Return a job for the next trial."""
        trial = self.study.ask()
        values: dict[str, Any] = {}
        for parameter in self._hyper_parameters:
            values.update(_suggest(trial, parameter))
        job = self.helper_create_job(
            self._base_task_id, parameter_override=values, details={"trial": _described(trial)}
        )
        self._trials[job.task_id()] = trial
        return job

    def monitor_job(self, job: BaseJob) -> bool:
        """Look at one job: tell the study what it reported, and give the job up when the study says so.

        Returns:
            Whether it goes on.
        """
        trial = self._trials.get(job.task_id())
        if trial is not None and len(self._objectives) == 1 and self._is_bad(job, trial) and not job.is_stopped():
            if job.task_id() not in self._pruned:
                LOG.info("job %s is given up: the pruner says that it is bad", job.task_id())
            self._pruned.add(job.task_id())
            job.abort()
        if super().monitor_job(job):
            return True
        if trial is not None:
            self._tell(job, trial)
        return False

    def _is_bad(self, job: BaseJob, trial: optuna.Trial) -> bool:
        """Tell the study of a new value while the job runs; return whether it is to be given up."""
        one = self._objectives[0]
        try:
            point = one.point_of(read_metric(self._ctx, job.record(), one.title, one.series))
        except TaskNotFoundError:
            return False
        if point is None or not math.isfinite(point[1]) or point[0] < 0:
            return False
        if point[0] > self._reported.get(job.task_id(), -1):
            self._reported[job.task_id()] = point[0]
            trial.report(point[1], step=point[0])
        return point[0] >= (self.min_iteration_per_job or 0) and job.is_running() and trial.should_prune()

    def _tell(self, job: BaseJob, trial: optuna.Trial) -> None:
        """Tell the study how a job has ended."""
        self._trials.pop(job.task_id(), None)
        rows = find(self._ctx, Search(task_filter={"id": [job.task_id()]}))
        found = ranked(self._ctx, rows, self._objectives)
        if not found:
            self.study.tell(trial, state=TrialState.FAIL)
        elif job.task_id() in self._pruned:
            self.study.tell(trial, state=TrialState.PRUNED)
        else:
            self.study.tell(trial, list(found[0][1]))

    def adopt(self, job: BaseJob, parameters: Mapping[str, Any], details: Mapping[str, Any], *, is_draft: bool) -> None:
        """Take up a job of before: the study learns its trial, and how it ended."""
        super().adopt(job, parameters, details, is_draft=is_draft)
        described = details.get("trial")
        if not isinstance(described, Mapping):
            return
        distributions = {name: json_to_distribution(text) for name, text in described["distributions"].items()}
        rows = find(self._ctx, Search(task_filter={"id": [job.task_id()]}))
        found = ranked(self._ctx, rows, self._objectives)
        if is_draft or not job.has_ended():
            self.study.enqueue_trial(dict(described["params"]))
            trial = self.study.ask(fixed_distributions=distributions)
            self._trials[job.task_id()] = trial
            return
        self.study.add_trial(
            optuna.trial.create_trial(
                params=dict(described["params"]), distributions=distributions,
                state=TrialState.COMPLETE if found else TrialState.FAIL, values=list(found[0][1]) if found else None,
            )
        )  # fmt: skip


def _suggest(trial: optuna.Trial, parameter: Parameter, prefix: str = "") -> dict[str, Any]:
    """Return ``{name: value}`` of one parameter as the study wants it."""
    label = f"{prefix}{parameter.name}"
    if isinstance(parameter, UniformIntegerParameterRange):
        values = parameter._values()
        return {str(parameter.name): trial.suggest_int(label, values[0], values[-1], step=parameter.step_size)}
    if isinstance(parameter, UniformParameterRange):
        return {str(parameter.name): _suggest_float(trial, label, parameter)}
    if isinstance(parameter, DiscreteParameterRange):
        return {str(parameter.name): _suggest_one(trial, label, parameter.values)}
    if isinstance(parameter, ParameterSet):
        place = trial.suggest_categorical(f"{prefix}{_set_name(parameter)}", range(len(parameter.values)))
        chosen: dict[str, Any] = {}
        for name, value in parameter.values[place].items():
            is_range = isinstance(value, Parameter)
            chosen.update(_suggest(trial, value, f"{prefix}{place}:") if is_range else {name: value})
        return chosen
    raise InvalidValueError(f"OptimizerOptuna knows no parameters of kind {type(parameter).__name__}")


def _suggest_float(trial: optuna.Trial, label: str, parameter: UniformParameterRange) -> float:
    points = parameter._points()
    if parameter.step_size is None:
        point = trial.suggest_float(label, parameter.min_value, parameter.max_value)
    else:
        point = points[trial.suggest_int(f"{label} (step)", 0, len(points) - 1)]
    return parameter._to_value(point) if isinstance(parameter, LogUniformParameterRange) else point


def _suggest_one(trial: optuna.Trial, label: str, values: Sequence[Any]) -> Any:
    """Return one of some values; those that optuna has no place for are chosen by their number."""
    are_plain = all(type(value) in _CATEGORIES and value == value for value in values)
    if are_plain and len(set(map(repr, values))) == len(set(values)):  # 1 and True are one to optuna
        return trial.suggest_categorical(label, list(values))
    return values[trial.suggest_categorical(f"{label} (number)", range(len(values)))]


def _set_name(parameter: ParameterSet) -> str:
    return "+".join(sorted({str(name) for combination in parameter.values for name in combination}))


def _described(trial: optuna.Trial) -> dict[str, Any]:
    """Return a trial as a dict that JSON can hold."""
    texts = {name: distribution_to_json(kind) for name, kind in trial.distributions.items()}
    return {"number": trial.number, "params": json.loads(json.dumps(trial.params)), "distributions": texts}
