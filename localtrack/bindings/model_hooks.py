"""The functions by which frameworks save and load model files, replaced by ones that tell of it.

Source: ClearML's framework bindings, measured; docs/contributing.md, "A binding".
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from localtrack.bindings import BindingContext
from localtrack.bindings.model_files import Files, Loading, ModelFiles, ShortWay, is_wanted, path_of, short_way, speaks
from localtrack.runtime import explicit
from localtrack.runtime.patches import thread_state

if TYPE_CHECKING:
    from localtrack.runtime.session import Session

_known: tuple[Session, ModelFiles] | None = None


def files_of(ctx: BindingContext, *, is_save: bool = True) -> ModelFiles | None:
    """Return the model files of this process's run; None when there is no run, or another rank speaks for it."""
    global _known
    known = _known
    if known is not None and not is_save and not known[0].closed:  # in a forked child it is
        return known[1]
    session = ctx.session()
    if session is None or not speaks(session):
        return None
    if known is None or known[0] is not session:
        known = _known = (session, ModelFiles(session, ctx.failed))
    return known[1]


def _any_object(thing: Any) -> bool:
    return True


def record_saves(
    ctx: BindingContext,
    owner: Any,
    name: str,
    framework: str | Callable[[Any], str],
    position: int,
    keyword: str,
    *,
    thing: int = 0,
    find: Callable[[Any], str | None] = path_of,
    wants: Callable[[Any], bool] = _any_object,
    files: Files | None = None,
) -> None:
    """Record what a function saves.

    Args:
        ctx: the binding's hold.
        owner: the module or class that has the function.
        name: the function's name.
        framework: ClearML's name of the framework, or what finds it from the saved object.
        position: place of the path among the positional arguments, ``self`` counted.
        keyword: the path's name as a keyword.
        thing: place of the saved object.
        find: returns the path of that argument.
        wants: tells whether an object is a model.
        files: returns the further files of what was saved.
    """

    def wrapper(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        target = args[position] if len(args) > position else kwargs.get(keyword)
        saved = args[thing] if len(args) > thing else None
        path = find(target) if target is not None and is_seen() else None
        run = files_of(ctx) if path is not None and wants(saved) else None
        if run is None or path is None or not is_wanted(ctx, run.session, path):
            return call(*args, **kwargs)
        with run.saving(path, framework if isinstance(framework, str) else framework(saved), saved, files):
            result = call(*args, **kwargs)
            flush = getattr(target, "flush", None)
            if callable(flush):
                flush()  # an open file: what its buffer holds belongs to the model
            return result

    ctx.patch.around(owner, name, wrapper)


def record_folders(
    ctx: BindingContext,
    owner: Any,
    name: str,
    framework: str,
    find: Callable[..., Any],
    thing: Callable[..., Any],
) -> None:
    """Record the folder that a method fills by several calls: once, when all is in it; what those save is part of it.

    Args:
        ctx: the binding's hold.
        owner: the class that has the method.
        name: the method's name.
        framework: ClearML's name of the framework.
        find: given what the method is, returns the folder; None where there is none.
        thing: given the same, returns what is saved.
    """

    def wrapper(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        place = find(*args, **kwargs) if is_seen() else None
        path = None if place is None else path_of(place)
        files = None if path is None else files_of(ctx)
        if files is None or path is None or not is_wanted(ctx, files.session, path):
            return call(*args, **kwargs)
        with files.saving(path, framework, thing(*args, **kwargs)):
            return call(*args, **kwargs)

    ctx.patch.around(owner, name, wrapper)


def argument_of(function: Any, name: str, find: Callable[[Any], str | None] = path_of) -> Callable[[Any], str | None]:
    """Return a ``find`` that takes an argument of the running call of a function which the script imported by name.

    What such a function calls in turn can be replaced, the function itself can't.

    Args:
        function: the function, or what it was replaced by.
        name: the argument.
        find: returns the path of that.
    """
    frame_of = running_call(function)

    def find_there(_: Any) -> str | None:
        frame = frame_of()
        return None if frame is None else find(frame.f_locals.get(name))

    return find_there


def running_call(function: Any) -> Callable[[], Any]:
    """Return what finds the frame of a function's innermost running call; None when this thread has none."""
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    code = function.__code__

    def frame_of() -> Any:
        frame: Any = sys._getframe(1)
        while frame is not None and frame.f_code is not code:
            frame = frame.f_back
        return frame

    return frame_of


def is_seen() -> bool:
    """Tell whether what is saved now is a model of its own: not a part of one, nor one that an integration records."""
    return not thread_state.nested and explicit.MODELS not in explicit.left()


def record_loads(
    ctx: BindingContext,
    owner: Any,
    name: str,
    framework: str | Callable[[Any], str],
    position: int,
    keyword: str,
    *,
    find: Callable[[Any], str | None] = path_of,
    wants: Callable[[Any], bool] = _any_object,
    unwanted: type | None = None,
) -> None:
    """Record what a function loads, at the cost of less than a microsecond.

    Args:
        ctx: the binding's hold.
        owner: the module or class that has the function.
        name: the function's name.
        framework: ClearML's name of the framework, or what finds it from the loaded object.
        position: place of the path among the positional arguments, ``self`` counted.
        keyword: the path's name as a keyword.
        find: returns the path of that argument.
        wants: tells whether a loaded object is a model.
        unwanted: objects of this very type are none; cheaper to ask than ``wants``.
    """

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def load(*args: Any, **kwargs: Any) -> Any:
            state = thread_state.__dict__
            if state.get("nested"):
                return original(*args, **kwargs)
            state["nested"] = 1  # what this loads in turn are its parts
            try:
                result = original(*args, **kwargs)
            finally:
                state["nested"] = 0
            if result.__class__ is unwanted or not patch.is_live:
                return result
            try:
                source = args[position]
            except IndexError:
                source = kwargs.get(keyword)
            try:
                put = way.put
                if put is None or source.__class__ is not str:
                    note(source, result)
                elif source[:1] == "/":
                    put((source, loading, ""))
                elif "://" in source:
                    note(source, result)
                else:
                    put((source, loading, os.getcwd()))
            except Exception as error:  # the binding border
                ctx.failed(name, error)
            return result

        return load

    is_simple = find is path_of and isinstance(framework, str) and wants is _any_object
    way = short_way if is_simple else ShortWay()
    loading = Loading(str(framework), ctx)
    note = _noting(ctx, framework, loading, find, wants)
    patch = ctx.patch
    patch.place(owner, name, make)


def _noting(
    ctx: BindingContext,
    framework: str | Callable[[Any], str],
    loading: Loading,
    find: Callable[[Any], str | None],
    wants: Callable[[Any], bool],
) -> Callable[[Any, Any], None]:
    """Return what asks everything of a loaded object before it is recorded; ``loading`` is of a named framework."""

    def note(source: Any, result: Any) -> None:
        files = files_of(ctx, is_save=False) if source is not None else None
        if files is None or not files.takes_loads or not wants(result):
            return
        path, folder = _place_of(source) if find is path_of else (find(source), "")
        if path is not None:
            what = loading if isinstance(framework, str) else Loading(framework(result), ctx)
            files.loaded((path, what, folder))

    return note


def _place_of(source: Any) -> tuple[str | None, str]:
    """Return what :func:`path_of` does, or cheaper its parts: a path as it was given, and the folder that it is in."""
    text = os.fsdecode(source) if isinstance(source, os.PathLike) else source
    if text.__class__ is not str or "://" in text:
        return path_of(source), ""
    return text, "" if os.path.isabs(text) else os.getcwd()
