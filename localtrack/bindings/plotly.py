"""Plotly: figures that are shown or written into files become plots of the task.

One call of the script is one plot, although plotly's functions call each other. A figure that was reported by hand, and
has not changed since, is not reported again.

Source: plotly.io's show, write_html, write_image and write_images.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

from localtrack.bindings import BindingContext, Undo, argument
from localtrack.bindings.figure_names import names_of
from localtrack.services import figures, plotly_figures

FRAMEWORK = "plotly"
MODULES = (
    "plotly.io._renderers", "plotly.io._html", "plotly.io._kaleido", "plotly.io._base_renderers", "plotly.io.kaleido",
)  # fmt: skip
RENDERERS = "plotly.io._base_renderers"
SERIES = "plot"
UNTITLED = "plotly"


class _Calls(threading.local):
    is_inside = False


_calls = _Calls()  # of this thread: a renderer may write a file to show it


def install(ctx: BindingContext) -> Undo:
    """Watch one of plotly's modules; the methods of its figures call these functions."""
    module: Any = ctx.module
    for name, report, is_before in (
        ("show", _report_shown, True),  # it may wait for a browser
        ("write_html", _report_written, False),
        ("write_image", _report_written, False),
        ("write_images", _report_all_written, False),
    ):
        # what a module has by name of another one is put back at the end; what shows figures only uses it
        if not ctx.patch.same_as_elsewhere(module, name) and module.__name__ != RENDERERS:
            _watch(ctx, name, report, is_before=is_before)
    return ctx.patch.undo


def _watch(ctx: BindingContext, name: str, report: Callable[..., None], *, is_before: bool) -> None:
    def wrapper(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if _calls.is_inside:
            return call(*args, **kwargs)
        if is_before:
            ctx.guarded(name, lambda: report(ctx, args, kwargs))
        _calls.is_inside = True
        try:
            result = call(*args, **kwargs)
        finally:
            _calls.is_inside = False
        if not is_before:
            ctx.guarded(name, lambda: report(ctx, args, kwargs))
        return result

    if hasattr(ctx.module, name):
        ctx.patch.around(ctx.module, name, wrapper)


def _report_shown(ctx: BindingContext, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    _report(ctx, argument(args, kwargs, 0, "fig"), "")


def _report_written(ctx: BindingContext, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    file = argument(args, kwargs, 1, "file")
    if isinstance(file, (str, os.PathLike)):  # into a file, not into somebody's buffer
        _report(ctx, argument(args, kwargs, 0, "fig"), PurePath(file).stem)


def _report_all_written(ctx: BindingContext, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    shown, files = argument(args, kwargs, 0, "fig"), argument(args, kwargs, 1, "file")
    all_shown = list(shown) if isinstance(shown, (list, tuple)) else [shown]
    all_files = list(files) if isinstance(files, (list, tuple)) else [files]
    for figure, file in zip(all_shown, all_files, strict=False):  # one figure in several formats is one plot
        _report(ctx, figure, PurePath(file).stem)


def _report(ctx: BindingContext, source: Any, stem: str) -> None:
    reports = ctx.reports()
    if reports is None or not (isinstance(source, dict) or hasattr(source, "to_plotly_json")):  # plotly refuses others
        return
    figure = figures.from_plotly(source)
    if plotly_figures.is_by_hand(source, figure):
        return
    iteration = reports.last_iteration()
    title = names_of(reports.session).next(plotly_figures.title_of(figure) or stem or UNTITLED, iteration)
    reports.plot(title, SERIES, figure, iteration)
