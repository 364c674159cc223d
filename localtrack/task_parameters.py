"""Parameters declared as a class: types and ranges are checked on every assignment.

Source: ClearML's clearml.task_parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from localtrack.errors import InvalidValueError

Validator = Callable[[Any, Any, Any], None]
_MISSING: Any = object()


class Parameter:
    """One declared parameter, as an attribute of a class.

    Attributes:
        name: its name, known once the class is made.
        metadata: free; ``desc`` is its description.
    """

    def __init__(
        self,
        validators: Sequence[Validator],
        kind: type | None,
        metadata: Mapping[str, Any],
        default: Any,
        factory: Any,
    ) -> None:
        self.name = ""
        self.metadata = dict(metadata)
        self._validators = tuple(validators)
        self._kind = kind
        self._default = default
        self._factory = factory

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        try:
            return vars(instance)[self.name]
        except KeyError:
            raise AttributeError(self.name) from None

    def __set__(self, instance: Any, value: Any) -> None:
        if self._kind is not None and value is not None and not isinstance(value, self._kind):
            raise TypeError(f"{self.name} must be of type {self._kind.__name__}, not {type(value).__name__}: {value!r}")
        for validator in self._validators:
            validator(instance, self, value)
        vars(instance)[self.name] = value

    def start_value(self) -> Any:
        """Return the default.

        Raises:
            TypeError: there is none.
        """
        if self._factory is not None:
            return self._factory()
        if self._default is _MISSING:
            raise TypeError(f"missing a value for the parameter {self.name!r}")
        return self._default


def range_validator(min_value: float | None, max_value: float | None) -> Validator:
    """Return a validator for a closed range; None leaves a side open."""

    def validate(instance: Any, attribute: Any, value: Any) -> None:
        if value is None:
            return
        if (min_value is not None and value < min_value) or (max_value is not None and value > max_value):
            raise InvalidValueError(f"{attribute.name} must be in range [{min_value}, {max_value}], not {value!r}")

    return validate


def param(
    validator: Validator | Sequence[Validator] | None = None,
    range: tuple[float | None, float | None] | None = None,
    type: type | None = None,
    desc: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    *,
    default: Any = _MISSING,
    factory: Callable[[], Any] | None = None,
) -> Any:
    """Declare a parameter of a :class:`TaskParameters`.

    Args:
        validator: called as ``validator(parameters, parameter, value)``; one or several.
        range: smallest and largest value allowed, None for no limit.
        type: class that values must have; None is always allowed.
        desc: what it means.
        metadata: free.
        default: the value where none is given.
        factory: makes the default.
    """
    given: list[Validator] = [] if validator is None else [validator] if callable(validator) else list(validator)
    if range is not None:
        given.append(range_validator(*range))
    return Parameter(given, type, {**(metadata or {}), "desc": desc}, default, factory)


def percent_param(*args: Any, **kwargs: Any) -> Any:
    """Declare a float between 0 and 1."""
    return param(*args, **{"range": (0, 1), "type": float, **kwargs})


class TaskParameters:
    """Base of a class of declared parameters.

    Raises:
        TypeError: a value of the wrong type, an unknown name, a parameter without a value.
        InvalidValueError: a value out of range.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        declared = self._declared()
        if len(args) > len(declared):
            raise TypeError(f"{type(self).__name__} takes {len(declared)} values, {len(args)} were given")
        given = {**dict(zip(declared, args, strict=False)), **kwargs}
        unknown = given.keys() - declared.keys()
        if unknown:
            raise TypeError(f"{type(self).__name__} has no parameter {sorted(unknown)[0]!r}")
        for name, parameter in declared.items():
            setattr(self, name, given[name] if name in given else parameter.start_value())

    @classmethod
    def _declared(cls) -> dict[str, Parameter]:
        found: dict[str, Parameter] = {}
        for base in reversed(cls.__mro__):
            found.update({name: value for name, value in vars(base).items() if isinstance(value, Parameter)})
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return the values by name."""
        return {name: getattr(self, name) for name in self._declared()}

    def update_from_dict(self, source_dict: Mapping[str, Any]) -> None:
        """Set values by name.

        Raises:
            InvalidValueError: an unknown name, or a value out of range.
        """
        unknown = source_dict.keys() - self._declared().keys()
        if unknown:
            raise InvalidValueError(f"{type(self).__name__} has no parameter {sorted(unknown)[0]!r}")
        for name, value in source_dict.items():
            setattr(self, name, value)

    def connect(self, task: Any) -> None:
        """Record the values with a task, or under an agent take the stored ones."""
        self.update_from_dict(dict(task.connect(self.to_dict())))
