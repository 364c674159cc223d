"""Section: parameters, configuration objects, user properties.

Source: ClearML's connect, connect_configuration, get_parameters, set_parameters, set_user_properties.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from localtrack.api.task.handle import Section
from localtrack.errors import InvalidValueError
from localtrack.records.parameters import entry, find_type_text, full_name, value_of
from localtrack.records.plain import replace
from localtrack.records.task import TaskRecord
from localtrack.services import parameters


class ParametersSection(Section):
    """Inputs of a task as values."""

    @property
    def _arguments(self) -> PrefixedParameters:
        """A name of ClearML's that Hugging Face's callback uses."""
        return PrefixedParameters(self)

    def connect(self, mutable: Any, name: str | None = None, ignore_remote_overrides: bool = False) -> Any:
        """Record an object's values as parameters, or under an agent put the stored ones into it.

        Args:
            mutable: a dict, an ``ArgumentParser``, a ``Namespace``, an object or a class.
            name: the section; ``General`` without one.
            ignore_remote_overrides: keep the code's values under an agent as well.

        Returns:
            The object to use from now on: for a dict one whose later changes are recorded too, else the one given.

        Raises:
            InvalidValueError: an object without values to record.
        """
        from localtrack.api.connect import connect_object  # imports argparse

        return connect_object(self, mutable, name, ignore_remote_overrides)

    def connect_configuration(
        self,
        configuration: Mapping[str, Any] | list[Any] | str | os.PathLike[str],
        name: str | None = None,
        description: str | None = None,
        ignore_remote_overrides: bool = False,
    ) -> Any:
        """Record a dict, a list or a file as a configuration object, or under an agent return the stored one.

        Objects inside that JSON has no place for are stored as their text; under an agent they are the code's own.

        Returns:
            A dict or list like the one given; for a file a path of the same kind, to the text to use.

        Raises:
            InvalidValueError: a file that is not there.
        """
        from localtrack.api.connect import connect_configuration

        return connect_configuration(self, configuration, name or "General", description or "", ignore_remote_overrides)

    def get_parameters(self, backwards_compatibility: bool = True, cast: bool = False) -> dict[str, Any]:
        """Return ``{"Section/name": value}``: texts as ClearML does, native values with ``cast``.

        User properties are among them, section ``properties``.
        """
        record = parameters.with_properties(self._read())
        return parameters.as_values(record) if cast else parameters.as_texts(record)

    def get_parameter(self, name: str, default: Any = None, cast: bool = False) -> Any:
        """Return one parameter, ``default`` when there is none."""
        return self.get_parameters(cast=cast).get(full_name(name), default)

    def get_parameters_as_dict(self, cast: bool = False) -> dict[str, Any]:
        """Return parameters nested by section and ``/``."""
        return parameters.as_nested(parameters.with_properties(self._read()), cast=cast)

    def set_parameters(self, *args: Mapping[str, Any], **kwargs: Any) -> None:
        """Replace all parameters, of every section but the user properties; see :meth:`update_parameters`."""
        entries = parameters.entries_of(*args, **kwargs)
        self._edit(lambda record: parameters.placed(record, entries, alone=True), "parameters replaced")

    def set_parameters_as_dict(self, dictionary: Mapping[str, Mapping[str, Any]]) -> None:
        """Add or change parameters given as ``{section: {name: value}}``; the others stay, as with ClearML."""
        entries = parameters.sections_of(dictionary)
        self._edit(lambda record: parameters.placed(record, entries), "parameters")

    def update_parameters(self, *args: Mapping[str, Any], **kwargs: Any) -> None:
        """Add or change parameters; the others stay. A text for one of another type is read as that type."""
        entries = parameters.entries_of(*args, **kwargs)
        self._edit(lambda record: parameters.placed(record, entries), "parameters")

    def set_parameter(
        self, name: str, value: Any, description: str | None = None, value_type: type | str | None = None
    ) -> None:
        """Add or change one parameter; a text for one of another type is read as that type, unless one is given."""
        new = {full_name(name): entry(value, description or "", find_type_text(value_type))}
        is_typed = value_type is not None
        self._edit(lambda record: parameters.placed(record, new, as_given=is_typed), "parameter")

    def delete_parameter(self, name: str, force: bool = False) -> bool:
        """Remove one parameter.

        Returns:
            Whether there was one.
        """
        key = full_name(name)
        found = key in self._read().parameters

        def change(record: TaskRecord) -> TaskRecord:
            return replace(record, parameters={k: v for k, v in record.parameters.items() if k != key})

        self._edit(change, "parameter removed", checked=not force)
        return found

    def set_configuration_object(
        self,
        name: str,
        config_text: str | None = None,
        description: str | None = None,
        config_type: str | None = None,
        config_dict: Mapping[str, Any] | list[Any] | None = None,
    ) -> None:
        """Store a configuration object: a text, or a dict or list.

        Raises:
            InvalidValueError: neither a text nor a dict, or both.
        """
        if (config_text is None) == (config_dict is None):
            raise InvalidValueError(f"configuration object {name!r}: give config_text or config_dict, one of them")
        text = config_text if config_text is not None else parameters.dump_configuration(config_dict)
        kind = config_type or ("dictionary" if config_text is None else "text")
        change = parameters.with_configuration(self._ctx, self._where(), name, text, kind, description or "")
        self._edit(change, f"configuration: {name}")

    def get_configuration_object(self, name: str) -> str | None:
        """Return the text of a configuration object; None when there is none of that name."""
        return parameters.configuration_text(self._where(), self._read(), name)

    def get_configuration_object_as_dict(self, name: str) -> Any:
        """Return a configuration object as a dict or list; None when there is none of that name."""
        text = self.get_configuration_object(name)
        return None if text is None else parameters.parse_configuration(text)

    def get_configuration_objects(self) -> dict[str, str]:
        """Return the texts of all configuration objects by name."""
        record, folder = self._read(), self._where()
        return {name: parameters.configuration_text(folder, record, name) or "" for name in record.configuration}

    def set_user_properties(self, *iterables: Mapping[str, Any] | Sequence[Any], **properties: Any) -> bool:
        """Add user properties, at any time: keywords, dicts, or lists of ``{"name", "value", ...}``.

        Returns:
            True.
        """
        new: dict[str, dict[str, Any]] = {}
        for source in (*iterables, properties):
            pairs = list(source.items()) if isinstance(source, Mapping) else [(item["name"], item) for item in source]
            for name, value in pairs:
                nested = isinstance(value, Mapping) and "value" in value
                body = value["value"] if nested else value
                new[str(name)] = entry(body, str(value.get("description", "")) if nested else "")
        self._edit(lambda record: replace(record, properties={**record.properties, **new}), "user properties")
        return True

    def get_user_properties(self, value_only: bool = False) -> dict[str, Any]:
        """Return user properties by name: values alone, or with type and description."""
        stored = self._read().properties
        if value_only:
            return {name: value_of(item) for name, item in stored.items()}
        return {
            name: {"section": "properties", "name": name, "value": value_of(item), "type": item.get("type", ""),
                   "description": item.get("description", "")}
            for name, item in stored.items()
        }  # fmt: skip

    def delete_user_properties(self, *iterables: Iterable[Any]) -> bool:
        """Remove user properties: ``[("properties", name), ...]`` or ``[{"name": ...}, ...]``.

        Returns:
            True.
        """
        gone = {item["name"] if isinstance(item, Mapping) else item[1] for iterable in iterables for item in iterable}

        def change(record: TaskRecord) -> TaskRecord:
            return replace(record, properties={k: v for k, v in record.properties.items() if k not in gone})

        self._edit(change, "user properties removed")
        return True

    def connect_label_enumeration(
        self, enumeration: Mapping[str, int], ignore_remote_overrides: bool = False
    ) -> dict[str, int]:
        """Record which number stands for which label."""
        labels = {str(name): int(number) for name, number in enumeration.items()}
        if self._session is not None and self._session.options.remote and not ignore_remote_overrides:
            return dict(self._read().labels) or labels
        self._edit(lambda record: replace(record, labels=labels), "labels")
        return labels

    def get_labels_enumeration(self) -> dict[str, int]:
        """Return which number stands for which label."""
        return dict(self._read().labels)


class PrefixedParameters:
    """A task's parameters, written section by section.

    Source: the calls of transformers' ClearMLCallback.
    """

    def __init__(self, task: ParametersSection) -> None:
        self._task = task

    def copy_from_dict(
        self, dictionary: Mapping[str, Any], prefix: str | None = None, descriptions: Mapping[str, str] | None = None
    ) -> None:
        """Add or change parameters; the others stay.

        Args:
            dictionary: value by name.
            prefix: their section; ``General`` without one.
            descriptions: text by name.
        """
        section = f"{prefix}/" if prefix else ""
        texts = descriptions or {}
        entries = {
            full_name(f"{section}{name}"): entry(value, texts.get(name, "")) for name, value in dictionary.items()
        }
        self._task._edit(lambda record: parameters.placed(record, entries), "parameters")
