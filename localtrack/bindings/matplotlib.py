"""Matplotlib: figures that are shown or saved become plots of the task, shown images become samples.

Figures of pandas, seaborn and others that draw with matplotlib come along. One that looks as it did when it was reported,
by hand or not, is not reported again.

Source: matplotlib's pyplot; ClearML's matplotlib binding, measured.
"""

from __future__ import annotations

import hashlib
import os
import sys
import weakref
from typing import Any

from localtrack.bindings import BindingContext, Undo, argument
from localtrack.bindings.figure_names import names_of
from localtrack.runtime import binding_options
from localtrack.runtime.reporting import SessionReports
from localtrack.services.matplotlib_apart import Moment
from localtrack.services.matplotlib_figures import interactive_of, is_by_hand, may_be_by_hand, picture_of
from localtrack.services.quiet import without_warnings

FRAMEWORK = "matplotlib"
MODULES = ("matplotlib.figure", "matplotlib.pyplot", "matplotlib.pylab", "matplotlib_inline.backend_inline")
WITHOUT_WINDOWS = frozenset({"agg", "cairo", "pdf", "pgf", "ps", "svg", "template"})


class _Seen:
    """What is known of one figure."""

    def __init__(self) -> None:
        self.digest = b""
        self.iteration = -1
        self.shows_image = False
        #: Whether a window would have been closed by now: what pyplot draws next is another figure.
        self.is_over = False
        self.times_over = 0
        self.last_over: Moment | None = None


_seen: weakref.WeakKeyDictionary[Any, _Seen] = weakref.WeakKeyDictionary()


def install(ctx: BindingContext) -> Undo:
    """Watch one of matplotlib's modules."""
    name, module = ctx.module.__name__, ctx.module
    if name == "matplotlib.figure":
        ctx.patch.after(module.Figure, "savefig", lambda result, args, kwargs: _on_save(ctx, args, kwargs))
        ctx.patch.before(module.Figure, "show", lambda args, kwargs: _report(ctx, args[0]))
    elif name == "matplotlib_inline.backend_inline":
        ctx.patch.before(module, "show", lambda args, kwargs: _on_show(ctx))
    elif name == "matplotlib.pyplot":
        if ctx.remote:
            module.switch_backend("agg")  # an agent's machine has no screen
        _watch_pyplot(ctx, module)
        ctx.patch.before(module, "gca", lambda args, kwargs: _begin_anew(ctx, module))
        for owner, named in ((module.Axes, "set_title"), (module.Figure, "suptitle")):
            ctx.patch.after(owner, named, lambda result, args, kwargs: _on_title(result))
    else:
        _watch_pyplot(ctx, module)
    return ctx.patch.undo


def _watch_pyplot(ctx: BindingContext, module: Any) -> None:
    if not ctx.patch.same_as_elsewhere(module, "show"):
        ctx.patch.before(module, "show", lambda args, kwargs: _on_show(ctx))
    if not ctx.patch.same_as_elsewhere(module, "imshow"):
        ctx.patch.after(module, "imshow", lambda result, args, kwargs: _on_image(result))


def _on_save(ctx: BindingContext, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if isinstance(argument(args, kwargs, 1, "fname"), (str, os.PathLike)):  # into a file, not into somebody's buffer
        _report(ctx, args[0])


def _on_image(image: Any) -> None:
    figure = image.get_figure()
    if figure is not None:
        _state(figure).shows_image = True


def _on_show(ctx: BindingContext) -> None:
    if "matplotlib.pyplot" not in sys.modules:
        return
    for figure in _open_figures():
        _report(ctx, figure, is_shown=True)
        _state(figure).is_over = not _has_window(figure)


def _has_window(figure: Any) -> bool:
    """Tell whether a figure is in a window, if only for as long as that is open; those of no pyplot count as if."""
    if figure.canvas.manager is None:
        return True
    return str(sys.modules["matplotlib.pyplot"].get_backend()).lower() not in WITHOUT_WINDOWS


def _open_figures() -> list[Any]:
    from matplotlib._pylab_helpers import Gcf

    return [manager.canvas.figure for manager in Gcf.get_all_fig_managers()]


def _on_title(title: Any) -> None:
    seen = _seen.get(title.get_figure())
    if seen is not None and seen.last_over is not None:
        seen.last_over.name_anew(title)


def _begin_anew(ctx: BindingContext, pyplot: Any) -> None:
    """Note what a shown figure holds before pyplot draws on it; where windows open, closing them begins another one."""
    if ctx.session() is None or not pyplot.get_fignums():
        return
    seen = _seen.get(pyplot.gcf())
    if seen is not None and seen.is_over:
        seen.is_over = False
        seen.times_over += 1
        seen.last_over = Moment(pyplot.gcf())


def _state(figure: Any) -> _Seen:
    seen = _seen.get(figure)
    if seen is None:
        seen = _seen[figure] = _Seen()
    return seen


def _report(ctx: BindingContext, figure: Any, *, is_shown: bool = False) -> None:
    """Report a figure: what was saved as it is in the file, what is shown as a window would show it."""
    reports = ctx.reports()
    if reports is None:
        return
    seen, iteration = _state(figure), reports.last_iteration()
    if is_shown and not figure.stale and (seen.is_over or seen.iteration == iteration):
        return
    pictured = _since(seen.last_over, figure) if is_shown and seen.last_over is not None else figure
    try:
        if may_be_by_hand(figure) and is_by_hand(figure, picture_of(figure)[0]):
            return
        _record(reports, seen, pictured, iteration, 0 if pictured is figure else seen.times_over)
    finally:
        if not _has_window(figure):
            figure.stale = False  # until it changes: making a picture leaves it stale, and nobody else asks


def _record(reports: SessionReports, seen: _Seen, figure: Any, iteration: int, times_over: int) -> None:
    data, suffix = picture_of(figure)
    digest = hashlib.sha256(b"%d %d " % (iteration, times_over) + data).digest()
    seen.iteration = iteration
    if digest == seen.digest:
        return
    seen.digest = digest
    as_sample, seen.shows_image = seen.shows_image, False
    title = _title(reports, figure, iteration, as_sample=as_sample)
    if as_sample:
        reports.media(title, "plot image", data, suffix, "image/png", iteration)
    else:
        found = None if binding_options.matplotlib_non_interactive else interactive_of(figure)
        reports.picture(title, "plot image" if found is None else "plot", data, suffix, iteration, found)


def _since(moment: Moment, figure: Any) -> Any:
    try:
        with without_warnings():
            return moment.figure_since(figure)
    except Exception:  # a figure that holds what can't be pickled is reported whole
        return figure


def _title(reports: SessionReports, figure: Any, iteration: int, *, as_sample: bool) -> str:
    texts = [text.get_text() for text in figure.texts if text.get_text()]
    text = texts[0] if texts else figure.gca().get_title() if figure.axes else ""
    names = names_of(reports.session)
    return names.next(text, iteration) if text else names.untitled(as_sample=as_sample)
