"""LightGBM: a callback that records a training's metrics, parameters, importances and model.

::

    from localtrack.integrations.lightgbm import LocaltrackCallback

    lightgbm.train(params, data, valid_sets=[valid], callbacks=[LocaltrackCallback(project="trees", name="first")])

Source: docs/how-to/integrations.md; lightgbm.callback.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightgbm
from lightgbm import engine, sklearn

from localtrack.bindings.lightgbm import LIGHTGBM, data_of
from localtrack.integrations.hold import TaskHold, numbered
from localtrack.integrations.importances import report_importances
from localtrack.integrations.scopes import watch
from localtrack.runtime import explicit
from localtrack.runtime.patches import argument
from localtrack.services.weights import temporary_folder

IMPORTANCE = "gain"
_TRAIN_AT, _CV_AT = 8, 12


class LocaltrackCallback:
    """Records one training after another: curves of every round, named as by the automatic capture.

    The model and the importances are those of the booster that ``lightgbm.train`` or an estimator's ``fit`` has made. A
    ``train`` that was imported by name before this module is not seen to end: call :meth:`finish` with its booster then.

    Args:
        project: project of the task that is started when this process has none.
        name: its name.
        log_params: record the parameters, in the section ``General``.
        log_model: keep the trained booster as an output model of the task.
        log_feature_importance: report the features' importance, by gain, as a plot.
        init: further arguments for ``Task.init``, when the task is started here.
    """

    localtrack_takes = frozenset({explicit.SCALARS, explicit.PARAMETERS})

    def __init__(
        self,
        project: str | None = None,
        name: str | None = None,
        *,
        log_params: bool = True,
        log_model: bool = False,
        log_feature_importance: bool = True,
        init: Mapping[str, Any] | None = None,
    ) -> None:
        self._hold = TaskHold(project, name, init=init)
        self._log_params = log_params
        self._log_model = log_model
        self._log_importance = log_feature_importance
        self._training: Any = None
        self._number = 0
        self.order = 5  # before early_stopping, which ends a round by an exception
        self.before_iteration = False

    def __call__(self, env: Any) -> None:
        """Report a round's metrics; of a cross-validation mean and deviation. The first round starts the task."""
        if env.iteration == env.begin_iteration:
            self._begin(env)
        if self._hold.task is None:
            return
        trainings = self._hold.trainings("lightgbm")
        for data, metric, value, _, *rest in env.evaluation_result_list or ():
            trainings.report(self._training, data, metric, value, env.iteration)
            if rest and rest[0] is not None:
                trainings.report(self._training, data, f"{metric} std", rest[0], env.iteration)

    def _begin(self, env: Any) -> None:
        self._training = object()
        if self._hold.start() is not None:
            self._number = self._hold.begin_training("lightgbm", self._training)
            if self._log_params:
                self._hold.parameters(data_of(env.params))

    def finish(self, booster: Any = None) -> None:
        """Report what is known at the end of a training, and close the task if it was started here."""
        if self._hold.task is not None and isinstance(booster, lightgbm.Booster):
            if booster.best_iteration > 0:
                self._hold.single_value("best_iteration", booster.best_iteration)
            if self._log_importance:
                self._hold.attempt("importances", lambda: self._report_importances(booster))
            if self._log_model:
                self._hold.attempt("model", lambda: self._keep_model(booster))
        self._hold.release()

    def _report_importances(self, booster: Any) -> None:
        scores = zip(booster.feature_name(), booster.feature_importance(IMPORTANCE), strict=True)
        report_importances(self._hold, IMPORTANCE, dict(scores))

    def _keep_model(self, booster: Any) -> None:
        with temporary_folder() as folder:
            path = Path(folder) / "model.txt"
            booster.save_model(path)
            self._hold.model(path, LIGHTGBM, booster.current_iteration(), name=numbered("model", self._number))

    def training_ended(self, result: Any, error: BaseException | None) -> None:
        """Call :meth:`finish`; a training that failed makes the task failed, if it was started here."""
        if error is None:
            self.finish(result)
        else:
            self._hold.ended(error)


for _owner in (engine, lightgbm, sklearn):
    watch(_owner, ("train",), lambda args, kwargs: argument(args, kwargs, _TRAIN_AT, "callbacks"))
    watch(_owner, ("cv",), lambda args, kwargs: argument(args, kwargs, _CV_AT, "callbacks"))
