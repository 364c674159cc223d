"""fastai's Learner: losses, metrics and the optimizer's hyper-parameters become curves, one set of them for each ``fit``.

Its models are files of PyTorch, which that binding records. Nothing is put into the learner, which scripts export with
all that it holds, and nothing is computed that fastai does not compute itself.

Source: https://clear.ml/docs/latest/docs/integrations/fastai, measured; fastai.learner.Recorder.
"""

from __future__ import annotations

import itertools
import weakref
from typing import Any

from localtrack.bindings import BindingContext, Undo
from localtrack.bindings.model_files import speaks

FRAMEWORK = "fastai"
MODULES = ("fastai.learner",)
TRAIN, VALID = "train_", "valid_"
_fits: weakref.WeakKeyDictionary[Any, itertools.count[int]] = weakref.WeakKeyDictionary()


def install(ctx: BindingContext) -> Undo:
    """Bind ``fastai.learner``: the callback that every learner has."""
    module: Any = ctx.module
    fits = _Fits(ctx)
    ctx.patch.after(module.Recorder, "before_fit", fits.begin)
    ctx.patch.after(module.Recorder, "after_batch", fits.after_batch)
    ctx.patch.after(module.Recorder, "after_epoch", fits.after_epoch)
    return ctx.patch.undo


class _Fit:
    """One call of ``fit`` in one run."""

    def __init__(self, session: Any, number: int) -> None:
        self.session = session
        self.number = number
        self.batches = 0


class _Fits:
    """Reports what recorders see.

    Args:
        ctx: the binding's hold.
    """

    def __init__(self, ctx: BindingContext) -> None:
        self._ctx = ctx
        self._running: weakref.WeakKeyDictionary[Any, _Fit] = weakref.WeakKeyDictionary()

    def begin(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Give a fit its number in this run."""
        recorder, session = args[0], self._ctx.session()
        self._running.pop(recorder, None)
        if session is not None and speaks(session) and not _has_tensorboard(recorder.learn):
            self._running[recorder] = _Fit(session, next(_fits.setdefault(session, itertools.count())))

    def after_batch(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Report the smoothed loss of the training, metrics where the script wants them of that, too, and what steers it."""
        recorder = args[0]
        fit, reports = self._running.get(recorder), self._ctx.reports()
        if fit is None or reports is None or reports.session is not fit.session or not recorder.training:
            return
        fit.batches += 1
        for metric in recorder._train_mets:
            self._put(reports, f"metrics_{fit.number}", TRAIN + metric.name, metric.value, fit.batches)
        for name, value in recorder.opt.hypers[-1].items():
            self._put(reports, f"{name}_{fit.number}", name, value, fit.batches)

    def after_epoch(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Report the loss and metrics of the validation, as fastai shows them."""
        recorder = args[0]
        fit, reports = self._running.get(recorder), self._ctx.reports()
        if fit is None or reports is None or reports.session is not fit.session or not recorder.values:
            return
        for name, value in _of_validation(recorder).items():
            self._put(reports, f"metrics_{fit.number}", name, value, fit.batches)

    @staticmethod
    def _put(reports: Any, title: str, series: str, value: Any, iteration: int) -> None:
        try:
            number = float(value)
        except (TypeError, ValueError):  # not computed yet, or no number at all
            return
        reports.scalar(title, series, number, iteration)


def _of_validation(recorder: Any) -> dict[str, Any]:
    """Return loss and metrics of the validation by ClearML's names; empty where there was none."""
    if getattr(recorder, "cancel_valid", False) or not recorder.valid_metrics:
        return {}
    names = ["loss", *(metric.name for metric in recorder.metrics)]
    values = list(recorder.values[-1])[-len(names) :]
    return {VALID + name: value for name, value in zip(names, values, strict=False)}


def _has_tensorboard(learner: Any) -> bool:
    """Tell whether a learner's own callback shows all this to TensorBoard, where it is captured."""
    return any(type(callback).__name__.startswith("TensorBoard") for callback in learner.cbs)
