"""Runs a function as a step: its arguments come from the step's task, what it returns goes there.

Source: docs/how-to/pipelines.md, "What a step's task holds".
"""

from __future__ import annotations

import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from localtrack.errors import InvalidValueError

if TYPE_CHECKING:
    from localtrack.api.task import Task

PLACE_VARIABLE = "LOCALTRACK_STEP_PLACE"
VALUES, INPUTS = "kwargs", "kwargs_artifacts"
PREVIEW_LIMIT = 1000
ELSEWHERE = "__mp_main__"
_MISSING_CLASS = re.compile(r"get attribute '(\w+)' on <module '__main__'")
Serialize = Callable[[Any], bytes]
Deserialize = Callable[[bytes], Any]


def go_to_place() -> None:
    """Go where the pipeline was started, if this machine runs its steps: files and modules are found from there."""
    told = os.environ.pop(PLACE_VARIABLE, "")
    if not told:
        return
    place = json.loads(told)
    os.chdir(place["folder"])
    sys.path.extend(one for one in place["path"] if one not in sys.path)


def run_step(
    function: Callable[..., Any],
    returns: Sequence[str],
    *,
    serialize: Serialize | None = None,
    deserialize: Deserialize | None = None,
    frameworks: bool | Mapping[str, Any] = True,
    parser: bool | Mapping[str, bool] = False,
) -> None:
    """Run a function as the step that this process was started for.

    Args:
        function: the function, decorated or not.
        returns: names under which what it returns is kept.
        serialize: turns a returned value into bytes.
        deserialize: turns the bytes of an input back.
        frameworks: as of ``Task.init``.
        parser: likewise.

    Raises:
        InvalidValueError: the function returned another number of values than there are names.
    """
    from localtrack.api.task import Task

    task = Task.init(auto_connect_frameworks=frameworks, auto_connect_arg_parser=parser)
    given = task.get_parameters_as_dict(cast=True)
    values = dict(given.get(VALUES, {}))
    for name, reference in given.get(INPUTS, {}).items():
        task_id, _, artifact = str(reference).partition(".")
        values[name] = load_value(Task.get_task(task_id=task_id), artifact, deserialize)
    result = call(function, values)
    for name, value in zip(returns, spread(result, returns, function.__name__), strict=True):
        store_value(task, name, value, serialize)


def call(function: Callable[..., Any], values: Mapping[str, Any]) -> Any:
    """Call a function with named values; those named by a number follow the positional ones."""
    more = sorted((name for name in values if name.isdigit()), key=int)
    named = {name: value for name, value in values.items() if not name.isdigit()}
    if not more:
        return function(**named)
    from localtrack.automation.pipelines.source import innermost

    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    first = [one.name for one in inspect.signature(innermost(function)).parameters.values() if one.kind in kinds]
    ahead = [named.pop(name) for name in first if name in named]
    return function(*ahead, *(values[name] for name in more), **named)


def spread(result: Any, returns: Sequence[str], name: str) -> list[Any]:
    """Return what a function returned, one value for each name.

    Raises:
        InvalidValueError: the numbers differ.
    """
    if len(returns) == 1:
        return [result]
    if not returns:
        return []
    found = list(result) if isinstance(result, (list, tuple)) else [result]
    if len(found) != len(returns):
        raise InvalidValueError(
            f"step function {name} returned {len(found)} value(s), but {len(returns)} are named: {', '.join(returns)}"
        )
    return found


def store_value(task: Task, name: str, value: Any, serialize: Serialize | None = None) -> None:
    """Keep a value as an artifact that comes back as exactly that value.

    Raises:
        InvalidValueError: it can't be stored.
    """
    kind = type(value)
    is_array = (kind.__module__, kind.__name__) == ("numpy", "ndarray") and not value.dtype.hasobject
    suffix = None if serialize is not None or is_array else ".pkl"
    preview = None if is_array else _preview(value)
    task.upload_artifact(
        name, value, preview=preview, serialization_function=serialize, extension_name=suffix, wait_on_upload=True
    )


def load_value(task: Task | None, name: str, deserialize: Deserialize | None = None) -> Any:
    """Return what a step of a pipeline returned under a name.

    Raises:
        InvalidValueError: the task has no such artifact, or this process does not know the class of what it holds.
    """
    if task is None or name not in task.artifacts:
        there = ", ".join(task.artifacts) or "none" if task is not None else "none"
        raise InvalidValueError(f"task {task.id if task else '?'} has no artifact {name!r} (there are: {there})")
    artifact = task.artifacts[name]
    try:
        return artifact.get(deserialization_function=deserialize)
    except AttributeError as error:
        asked = _MISSING_CLASS.search(str(error))
        if asked is None:
            raise
    if not _bring_classes(task, asked[1]):
        raise InvalidValueError(
            f"artifact {name!r} of task {task.id} holds an object of {asked[1]}, which the pipeline's script defines and this "
            f"step does not know: name {asked[1]} in the step's function, or define it in a module that both import"
        )
    return artifact.get(deserialization_function=deserialize)


def _bring_classes(task: Task, name: str) -> bool:
    """Define here what the script of another step defines, since a pickle only names the class of an object.

    Returns:
        Whether what a pickle asked for is there now; the script of a pipeline is not run again for it.
    """
    source = task._text("source")
    if __name__ not in source:
        return False
    other = sys.modules[ELSEWHERE] = ModuleType(ELSEWHERE)  # dataclasses look for their module there
    exec(compile(source, f"<script of task {task.id}>", "exec"), other.__dict__)
    main = sys.modules["__main__"]
    for key, value in vars(other).items():
        if isinstance(value, (type, FunctionType)) and value.__module__ == ELSEWHERE and not hasattr(main, key):
            value.__module__ = "__main__"
            setattr(main, key, value)
    return hasattr(main, name)


def _preview(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:  # a class of the user's own
        text = f"<{type(value).__qualname__}>"
    return text if len(text) <= PREVIEW_LIMIT else f"{text[:PREVIEW_LIMIT]} ..."
