"""``connect``: an object's values into the task, or under an agent the task's values into the object.

Source: ClearML's Task.connect and connect_configuration, measured.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Mapping, MutableMapping, MutableSequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localtrack.errors import InvalidValueError, TaskNotFoundError
from localtrack.records.parameters import (
    COLLECTIONS,
    DEFAULT_SECTION,
    MISFITS,
    Entry,
    cast_like,
    entry,
    leaves,
    value_of,
)
from localtrack.services import parameters

if TYPE_CHECKING:
    from localtrack.api.task.parameters import ParametersSection

IGNORE_FLAG = "_ignore_remote_overrides_"


def connect_object(task: ParametersSection, value: Any, name: str | None, ignore_overrides: bool) -> Any:
    """Dispatch on what is connected; see :meth:`ParametersSection.connect`."""
    if isinstance(value, argparse.ArgumentParser):
        return _connect_parser(task, value)
    if _is_model(value):
        value.connect(task, name=name, ignore_remote_overrides=ignore_overrides)
        return value
    section = name or DEFAULT_SECTION
    if isinstance(value, argparse.Namespace):
        return _connect_attributes(task, value, vars(value), name or "Args", ignore_overrides)
    if isinstance(value, Mapping):
        return _connect_mapping(task, value, section, ignore_overrides)
    if isinstance(value, type):
        return _connect_attributes(task, value, _class_values(value), section, ignore_overrides)
    if hasattr(value, "__dict__") or _declared(value) is not None:
        return _connect_attributes(task, value, _instance_values(value), section, ignore_overrides)
    raise InvalidValueError(
        f"connect takes a dict, an ArgumentParser, an object or a class, not a {type(value).__qualname__}"
    )


def _is_model(value: Any) -> bool:
    """Tell whether a value is one of our models; where their module was never loaded, none is."""
    module = sys.modules.get("localtrack.api.model.base")
    return module is not None and isinstance(value, module.BaseModel)


class ConnectedDict(dict[Any, Any]):
    """A dict whose later changes are recorded as parameters; nested dicts are connected too."""

    def __init__(self, values: Mapping[Any, Any], record: Any, prefix: str = "") -> None:
        self._record = record
        self._prefix = prefix
        super().__init__({key: self._wrap(key, item) for key, item in values.items()})

    def _wrap(self, key: Any, value: Any) -> Any:
        if isinstance(value, Mapping) and not isinstance(value, ConnectedDict):
            return ConnectedDict(value, self._record, f"{self._prefix}{key}/")
        return value

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, self._wrap(key, value))
        self._record({f"{self._prefix}{path}": leaf for path, leaf in leaves({key: value})})

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Change several values; one commit."""
        values = dict(*args, **kwargs)
        for key, value in values.items():
            super().__setitem__(key, self._wrap(key, value))
        self._record({f"{self._prefix}{path}": leaf for path, leaf in leaves(values)})

    def __ior__(self, other: Any) -> ConnectedDict:  # type: ignore[misc]
        self.update(other)
        return self

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Set a value that is not there yet, recorded as well."""
        if key not in self:
            self[key] = default
        return self[key]

    def __reduce__(self) -> Any:
        return dict, (dict(self),)


def _connect_mapping(task: ParametersSection, value: Mapping[Any, Any], section: str, ignore: bool) -> Any:
    stored = _stored(task, section, ignore)
    values = _overridden(value, stored, section) if stored is not None else value
    _record(task, section, dict(leaves(values)), ignore)
    if isinstance(value, MutableMapping):
        if stored is not None:
            _fill(value, values, section)
        if not isinstance(value, dict):
            return value  # a configuration of a library: its attributes and methods must stay

    def write_back(changed: dict[str, Any]) -> None:
        if task._owned or task._session is None:
            _record(task, section, changed, ignore)

    return ConnectedDict(values, write_back)


def _fill(target: MutableMapping[Any, Any], values: Mapping[Any, Any], section: str) -> None:
    """Make values those of the mapping that the script holds, and of the ones inside it: other names refer to them."""
    try:
        for key in [key for key in target if key not in values]:
            del target[key]
    except Exception as error:  # a configuration of a library may be closed to changes
        _say(f"{section}: {type(target).__qualname__} does not give up {key!r}: {error}")
    for key, item in values.items():
        present = target.get(key)
        if isinstance(item, Mapping) and isinstance(present, MutableMapping):
            _fill(present, item, section)
        elif key not in target or type(present) is not type(item) or _differs(item, present):
            try:
                target[key] = item
            except Exception as error:
                _say(f"{section}/{key}: {type(target).__qualname__} does not take {item!r}: {error}")


def _connect_attributes(
    task: ParametersSection, target: Any, values: Mapping[str, Any], section: str, ignore: bool
) -> Any:
    stored = _stored(task, section, ignore)
    values = {name: _expanded(value) for name, value in values.items()}
    if stored is not None:
        values = _overridden(values, stored, section)
        for name, value in values.items():
            _assign(target, name, value)
    _record(task, section, dict(leaves(values)), ignore)
    return target


def _expanded(value: Any) -> Any:
    """Return a dataclass inside an object as the dict of its fields; anything else as it is."""
    names = _declared(value)
    return value if names is None else {name: _expanded(getattr(value, name)) for name in names}


def _declared(value: Any) -> list[str] | None:
    """Return the fields of a dataclass's, an attrs or a pydantic class's instance; None for anything else."""
    if isinstance(value, type):
        return None
    if _is_dataclass(value):
        from dataclasses import fields

        return [field.name for field in fields(value) if hasattr(value, field.name)]
    attributes = getattr(type(value), "__attrs_attrs__", None)
    if attributes is not None:
        return [attribute.name for attribute in attributes]
    declared = getattr(type(value), "__pydantic_fields__", None)
    return list(declared) if isinstance(declared, Mapping) else None


def _is_dataclass(value: Any) -> bool:
    """Whether the class of an object is one; asked without loading :mod:`dataclasses`, which is slow to import."""
    return hasattr(type(value), "__dataclass_fields__")


def _assign(target: Any, name: str, value: Any) -> None:
    """Set an attribute, into a dataclass that stands there, and of one that is frozen too."""
    present = getattr(target, name, None)
    if isinstance(value, dict) and _declared(present) is not None:
        for inner, item in value.items():
            _assign(present, inner, item)
        return
    if present is value:
        return
    try:
        if _is_dataclass(target):
            object.__setattr__(target, name, value)
        else:
            setattr(target, name, value)
    except (AttributeError, TypeError, ValueError) as error:
        _say(f"{type(target).__qualname__}.{name} can't be set to {value!r}, the code's value is kept: {error}")


def _connect_parser(task: ParametersSection, parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Its parses are recorded by the hook; one that never parsed is recorded by its defaults."""
    values = {action.dest: action.default for action in parser._actions if action.dest not in ("help", "==SUPPRESS==")}
    try:
        known = task._read().parameters
    except (TaskNotFoundError, OSError):
        if not task._owned:
            raise
        known = {}  # the store is gone: the edit below says so
    fresh = {name: value for name, value in values.items() if f"Args/{name}" not in known}
    _record(task, "Args", fresh, False)
    return parser


def _stored(task: ParametersSection, section: str, ignore: bool) -> dict[str, Any] | None:
    """Return the stored values of a section when an agent runs the task and they are to be used; else None."""
    session = task._session
    if session is None or not session.options.remote:
        return None
    prefix = f"{section}/"
    entries = {k[len(prefix) :]: v for k, v in task._read().parameters.items() if k.startswith(prefix)}
    flag = entries.pop(IGNORE_FLAG, None)
    if (value_of(flag) if flag is not None else ignore) in (True, "True", "true"):
        return None
    return {name: value_of(item) for name, item in entries.items()}


def _overridden(values: Mapping[Any, Any], stored: Mapping[str, Any], section: str, prefix: str = "") -> dict[Any, Any]:
    """Return the code's values with the stored ones in their place, in the code's own types."""
    result: dict[Any, Any] = {}
    for key, value in values.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            result[key] = _overridden(value, stored, section, f"{path}/")
        elif path in stored:
            try:
                result[key] = cast_like(stored[path], value)
            except MISFITS:
                _say(f"parameter {section}/{path}: {stored[path]!r} does not fit {value!r}; the code's value is kept")
                result[key] = value
            if _differs(result[key], value):
                _say(f"parameter {section}/{path} is {result[key]!r} instead of {value!r}")
        else:
            result[key] = value
    return result


def _record(task: ParametersSection, section: str, values: Mapping[str, Any], ignore: bool) -> None:
    if _follows(task):
        return
    entries: dict[str, Entry] = {f"{section}/{path}": entry(value) for path, value in values.items()}
    if ignore:
        entries[f"{section}/{IGNORE_FLAG}"] = entry(True)
    if entries:
        task._edit(lambda record: parameters.merged(record, entries), f"connect {section}")


def _follows(task: ParametersSection) -> bool:
    """Tell whether this process is a rank other than zero: all of them connect the same, and that one records it."""
    return task._session is not None and task._session.follows


def _class_values(kind: type) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for base in reversed(kind.__mro__[:-1]):
        values.update(_plain(vars(base).items()))
    return values


def _instance_values(value: Any) -> dict[str, Any]:
    names = _declared(value)
    if names is not None:
        own = {name: getattr(value, name) for name in names}
        return _plain({**own, **getattr(value, "__dict__", {})}.items())
    return {**_class_values(type(value)), **_plain(vars(value).items())}


def _plain(items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return public attributes that are data."""
    return {
        name: value
        for name, value in items
        if not name.startswith("_")
        and not callable(value)
        and not isinstance(value, (property, classmethod, staticmethod))
    }


def _differs(new: Any, old: Any) -> bool:
    """Tell whether two values differ; NaN is NaN, and arrays are compared as a whole."""
    if new is old:
        return False
    try:
        return bool(new != old) and (new == new or old == old)
    except Exception:  # arrays and tensors have no one truth value
        return repr(new) != repr(old)


def connect_configuration(
    task: ParametersSection, configuration: Any, name: str, description: str, ignore: bool
) -> Any:
    """See :meth:`ParametersSection.connect_configuration`."""
    session = task._session
    remote = session is not None and session.options.remote and not ignore
    text = task.get_configuration_object(name) if remote else None
    if isinstance(configuration, (Mapping, MutableSequence)):
        if text is not None:
            return _configured(configuration, text, name)
        if remote:
            _say(f"the task has no configuration object {name!r}: the code's own is used and stored")
        text = parameters.dump_configuration(configuration)
        if not _follows(task):
            task.set_configuration_object(name, config_text=text, description=description, config_type="dictionary")
        if isinstance(configuration, dict) or not isinstance(configuration, (MutableMapping, MutableSequence)):
            return _watched(task, configuration, name, description)
        return configuration
    if not isinstance(configuration, (str, os.PathLike)):
        raise InvalidValueError(
            f"connect_configuration takes a dict, a list or a path, not a {type(configuration).__qualname__}"
        )
    path = Path(configuration)
    if text is not None:
        from tempfile import mkstemp

        handle, copy = mkstemp(prefix="localtrack_config_", suffix=path.suffix)
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogatepass") as stream:
            stream.write(text)
        return copy if isinstance(configuration, str) else Path(copy)
    try:
        content = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise InvalidValueError(f"configuration file {path} can't be read: {error.strerror}", path=str(path)) from None
    if _follows(task):
        return configuration
    task.set_configuration_object(
        name, config_text=content.encode("utf-8", "surrogateescape").decode("utf-8", "replace"),
        description=description, config_type=path.suffix or "text",
    )  # fmt: skip
    return configuration


def _say(text: str) -> None:
    sys.stderr.write(f"localtrack: {text}\n")


def _configured(configuration: Any, text: str, name: str) -> Any:
    """Return the stored configuration, in the very object that the script gave, where it can be changed."""
    stored = parameters.parse_configuration(text)
    is_mapping = isinstance(configuration, Mapping)
    if not isinstance(stored, dict if is_mapping else list):
        wanted = "dict" if is_mapping else "list"
        _say(f"configuration object {name!r} does not read as a {wanted}: the code's is kept")
        return configuration
    whole = _with_objects(stored, configuration, name)
    if isinstance(configuration, MutableMapping):
        _fill(configuration, whole, name)
    elif isinstance(configuration, MutableSequence) and whole is not configuration:
        configuration[:] = whole
    else:
        return whole
    return configuration


def _with_objects(stored: Any, given: Any, path: str) -> Any:
    """Return what was stored with the code's objects in place of the texts that stand for them."""
    if isinstance(stored, dict) and isinstance(given, Mapping):
        return {
            key: _with_objects(item, given[key], f"{path}/{key}") if key in given else item
            for key, item in stored.items()
        }
    if isinstance(stored, list) and isinstance(given, list) and len(stored) == len(given):
        return [_with_objects(*pair, path) for pair in zip(stored, given, strict=True)]
    if isinstance(given, (str, int, float, type(None), Mapping)) and not isinstance(given, Enum):
        return stored
    if isinstance(given, COLLECTIONS) and not isinstance(stored, COLLECTIONS):
        return stored
    try:
        return cast_like(stored, given)
    except MISFITS:
        _say(f"configuration {path}: {stored!r} does not fit {given!r}; the code's value is kept")
        return given


def _watched(task: ParametersSection, configuration: Mapping[str, Any], name: str, description: str) -> ConnectedDict:
    """Return a configuration whose later changes are stored as well."""

    def store(changed: dict[str, Any]) -> None:
        if task._owned and not _follows(task):
            task.set_configuration_object(name, config_dict=watched, description=description)

    watched = ConnectedDict(configuration, store)
    return watched
