"""``${step.artifacts.data.url}`` and its kin: what of other steps a value refers to, and what that is.

Source: ClearML's PipelineController.add_step, "parameter_override".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from localtrack.errors import InvalidValueError

if TYPE_CHECKING:
    from localtrack.api.task import Task

PIPELINE = "pipeline"
REFERENCE = re.compile(r"\$\{([^{}]*)\}")
PROPERTIES = ("script", "execution", "container", "output", "comment", "tags", "system_tags", "project")
KINDS = ("id", "artifacts", "parameters", "models", *PROPERTIES)


def find_references(value: Any, deep: bool = True) -> Iterator[str]:
    """Yield what stands between ``${`` and ``}`` in a text, or in all texts of a list or dict."""
    if isinstance(value, str):
        for match in REFERENCE.finditer(value):
            yield match[1]
    elif deep and isinstance(value, Mapping):
        for one in value.values():
            yield from find_references(one)
    elif deep and isinstance(value, (list, tuple)):
        for one in value:
            yield from find_references(one)


def replace_references(value: Any, look_up: Callable[[str], Any], deep: bool = True) -> Any:
    """Return a value with its references replaced; a text that is one reference becomes the value with its type."""
    if isinstance(value, str):
        whole = REFERENCE.fullmatch(value)
        if whole is not None:
            return look_up(whole[1])
        return REFERENCE.sub(lambda match: str(look_up(match[1])), value)
    if deep and isinstance(value, Mapping):
        return {key: replace_references(one, look_up) for key, one in value.items()}
    if deep and isinstance(value, (list, tuple)):
        return type(value)(replace_references(one, look_up) for one in value)
    return value


def split_reference(reference: str, steps: Mapping[str, Any], place: str) -> tuple[str, list[str]]:
    """Return the step of a reference and the rest of its path; a step's name may have dots in it.

    Args:
        reference: what stands between the braces.
        steps: the pipeline's steps by name.
        place: where the reference stands, for the message.

    Raises:
        InvalidValueError: no such step, or nothing of it is named.
    """
    step = next(
        (name for name in sorted([*steps, PIPELINE], key=len, reverse=True) if reference.startswith(f"{name}.")), None
    )
    rest = reference[len(step) + 1 :] if step is not None else ""
    if step is None or not rest:
        known = ", ".join(steps) or "none"
        name = reference.partition(".")[0]
        what = f"names nothing of step {name!r}" if name in steps else f"there is no step {name!r} (steps: {known})"
        raise InvalidValueError(f"{place}: ${{{reference}}}: {what}")
    return step, rest.split(".")


def check_kind(reference: str, path: list[str], place: str) -> None:
    """Check that a reference asks for something that tasks have.

    Raises:
        InvalidValueError: it does not.
    """
    if path[0].lower() not in KINDS:
        raise InvalidValueError(f"{place}: ${{{reference}}}: a step has no {path[0]!r}, but {', '.join(KINDS)}")
    if path[0].lower() in ("artifacts", "parameters", "models") and len(path) < 2:
        raise InvalidValueError(f"{place}: ${{{reference}}} does not say which of the step's {path[0]}")
    if path[0].lower() == "models" and (len(path) < 4 or path[1].lower() not in ("input", "output")):
        raise InvalidValueError(f"{place}: ${{{reference}}}: models are named as models.output.-1.url")


def value_of(task: Task, path: list[str], reference: str) -> Any:
    """Return what a reference means, now that its step has a task.

    Raises:
        InvalidValueError: the task has no such thing; says what it has.
    """
    kind, rest = path[0].lower(), path[1:]
    if kind == "id":
        return task.id
    if kind == "artifacts":
        return _artifact(task, rest, reference)
    if kind == "parameters":
        name = ".".join(rest)
        values = task.get_parameters(cast=True)
        if name not in values:
            raise _missing(reference, "parameter", name, task, values)
        return values[name]
    if kind == "models":
        return _model(task, rest, reference)
    found: Any = task.data.to_dict()
    for part in path:
        found = found.get(part) if isinstance(found, Mapping) else None
    if found is None:
        raise _missing(reference, "field", ".".join(path), task, ())
    return found


def _artifact(task: Task, path: list[str], reference: str) -> Any:
    """Return an artifact's property; the name may have dots, with a backslash before them or without."""
    text = ".".join(path).replace("\\.", ".")
    artifacts = task.artifacts
    name = next(
        (one for one in sorted(artifacts, key=len, reverse=True) if text == one or text.startswith(f"{one}.")), None
    )
    if name is None:
        raise _missing(reference, "artifact", text, task, artifacts)
    found: Any = artifacts[name]
    for part in text[len(name) + 1 :].split(".") if text != name else ["url"]:
        found = found[part] if isinstance(found, Mapping) and part in found else getattr(found, part, None)
        if found is None or callable(found):
            raise InvalidValueError(f"${{{reference}}}: artifact {name!r} has no {part!r}, but url, hash, size, type")
    return str(found)


def _model(task: Task, path: list[str], reference: str) -> str:
    models = task.models[path[0].lower()]
    try:
        found = models[int(path[1])]
    except ValueError:
        found = models.get(path[1])
    except IndexError:
        found = None
    if found is None:
        raise _missing(reference, f"{path[0]} model", path[1], task, [model.name for model in models])
    value = getattr(found, path[2], None)
    if value is None or callable(value):
        raise InvalidValueError(f"${{{reference}}}: a model has no {path[2]!r}, but id, url, name, framework")
    return str(value)


def _missing(reference: str, kind: str, name: str, task: Task, known: Any) -> InvalidValueError:
    there = ", ".join(sorted(str(one) for one in known)[:20]) or "none"
    return InvalidValueError(f"${{{reference}}}: task {task.id} has no {kind} {name!r} (there are: {there})")
