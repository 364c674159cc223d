"""XGBoost: a callback that records a training's metrics, configuration, importances and model.

::

    from localtrack.integrations.xgboost import LocaltrackCallback

    xgboost.train(params, data, evals=[(data, "train")], callbacks=[LocaltrackCallback(project="trees", name="first")])

Source: docs/how-to/integrations.md; xgboost.callback.TrainingCallback.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xgboost
from xgboost.callback import TrainingCallback

from localtrack.bindings.xgboost import XGBOOST
from localtrack.integrations.hold import TaskHold, numbered
from localtrack.integrations.importances import report_importances
from localtrack.integrations.scopes import watch
from localtrack.runtime import explicit
from localtrack.services.weights import temporary_folder

IMPORTANCE = "gain"


class LocaltrackCallback(TrainingCallback):  # type: ignore[misc]  # the framework has no types
    """Records one training after another: curves of every round, named as by the automatic capture.

    Args:
        project: project of the task that is started when this process has none.
        name: its name.
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
        log_model: bool = False,
        log_feature_importance: bool = True,
        init: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self._hold = TaskHold(project, name, init=init)
        self._log_model = log_model
        self._log_importance = log_feature_importance
        self._training: Any = None
        self._number = 0

    def before_training(self, model: Any) -> Any:
        """Start the task if there is none, and record the booster's configuration."""
        self._training = object()
        if self._is_first_rank() and self._hold.start() is not None:
            self._number = self._hold.begin_training("xgboost", self._training)
            if not hasattr(model, "cvfolds"):
                self._hold.configuration("xgboost", json.loads(model.save_config()))
        return model

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        """Report a round's metrics; of a cross-validation mean and deviation."""
        if self._hold.task is not None:
            trainings = self._hold.trainings("xgboost")
            for data, metrics in evals_log.items():
                for metric, values in metrics.items():
                    last = values[-1]
                    pairs = zip(("", " std"), last, strict=False) if isinstance(last, tuple) else [("", last)]
                    for suffix, value in pairs:
                        trainings.report(self._training, data, metric + suffix, value, epoch)
        return False

    def after_training(self, model: Any) -> Any:
        """Report the best round and the importances, and keep the model, where that is asked for."""
        if self._hold.task is not None and not hasattr(model, "cvfolds"):
            self._report_model(model)
        self._hold.release()
        return model

    def _report_model(self, model: Any) -> None:
        for key in ("best_score", "best_iteration"):
            self._hold.single_value(key, model.attr(key))
        if self._log_importance:
            self._hold.attempt("importances", lambda: self._report_importances(model))
        if self._log_model:
            self._hold.attempt("model", lambda: self._keep_model(model))

    def _report_importances(self, model: Any) -> None:
        if json.loads(model.save_config())["learner"]["gradient_booster"]["name"] != "gblinear":  # it has none by gain
            report_importances(self._hold, IMPORTANCE, model.get_score(importance_type=IMPORTANCE))

    def _keep_model(self, model: Any) -> None:
        with temporary_folder() as folder:
            path = Path(folder) / "model.ubj"
            model.save_model(path)
            self._hold.model(path, XGBOOST, model.num_boosted_rounds(), name=numbered("model", self._number))

    def training_ended(self, result: Any, error: BaseException | None) -> None:
        """Close the task, if it was started here, also when the training failed."""
        self._hold.ended(error)

    @staticmethod
    def _is_first_rank() -> bool:
        return bool(xgboost.collective.get_rank() == 0)


for _owner in (xgboost, xgboost.training, xgboost.sklearn):
    watch(_owner, ("train", "cv"), lambda args, kwargs: kwargs.get("callbacks"))
