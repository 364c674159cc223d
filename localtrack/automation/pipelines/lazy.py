"""A value that a step will return: whoever uses it waits for the step.

Source: the return values of ClearML's pipeline components.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

_UNARY = ("neg", "pos", "abs", "invert", "index")
_BINARY = (
    "add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow", "lshift", "rshift", "and", "or", "xor",
)  # fmt: skip
_COMPARED = ("lt", "le", "eq", "ne", "gt", "ge")


class LazyValue:
    """Behaves as the value that it stands for, which is fetched on the first use.

    Args:
        fetch: waits for the step, and returns the value.
        source: what the value comes from, for those who pass it on unused.
    """

    __slots__ = ("_localtrack_fetch", "_localtrack_source", "_localtrack_value")

    def __init__(self, fetch: Callable[[], Any], source: Any = None) -> None:
        object.__setattr__(self, "_localtrack_fetch", fetch)
        object.__setattr__(self, "_localtrack_source", source)

    @property
    def __class__(self) -> Any:
        """The class of the value, so that ``isinstance`` tells the truth."""
        return type(value_of(self))

    @__class__.setter
    def __class__(self, kind: Any) -> None:
        value_of(self).__class__ = kind

    def __getattr__(self, name: str) -> Any:
        return getattr(value_of(self), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(value_of(self), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(value_of(self), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the value."""
        return value_of(self)(*args, **kwargs)

    def __repr__(self) -> str:
        return repr(value_of(self))

    def __str__(self) -> str:
        return str(value_of(self))

    def __format__(self, spec: str) -> str:
        return format(value_of(self), spec)

    def __hash__(self) -> int:
        return hash(value_of(self))

    def __bool__(self) -> bool:
        return bool(value_of(self))

    def __len__(self) -> int:
        return len(value_of(self))

    def __iter__(self) -> Any:
        return iter(value_of(self))

    def __next__(self) -> Any:
        return next(value_of(self))

    def __reversed__(self) -> Any:
        return reversed(value_of(self))

    def __contains__(self, item: Any) -> bool:
        return item in value_of(self)

    def __getitem__(self, key: Any) -> Any:
        return value_of(self)[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        value_of(self)[key] = value

    def __delitem__(self, key: Any) -> None:
        del value_of(self)[key]

    def __int__(self) -> int:
        return int(value_of(self))

    def __float__(self) -> float:
        return float(value_of(self))

    def __complex__(self) -> complex:
        return complex(value_of(self))

    def __bytes__(self) -> bytes:
        return bytes(value_of(self))

    def __fspath__(self) -> Any:
        import os

        return os.fspath(value_of(self))

    def __round__(self, *digits: Any) -> Any:
        return round(value_of(self), *digits)

    def __divmod__(self, other: Any) -> Any:
        return divmod(value_of(self), value_of(other))

    def __rdivmod__(self, other: Any) -> Any:
        return divmod(value_of(other), value_of(self))

    def __enter__(self) -> Any:
        return value_of(self).__enter__()

    def __exit__(self, *error: Any) -> Any:
        return value_of(self).__exit__(*error)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        import numpy as np

        return np.asarray(value_of(self), *args, **kwargs)

    def __reduce__(self) -> Any:
        return _identity, (value_of(self),)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _identity, (value_of(self),)

    def __copy__(self) -> Any:
        import copy

        return copy.copy(value_of(self))

    def __deepcopy__(self, memo: Any) -> Any:
        import copy

        return copy.deepcopy(value_of(self), memo)


def is_lazy(value: Any) -> bool:
    """Tell whether a value stands for one of a step; asking waits for nothing."""
    return type(value) is LazyValue


def value_of(value: Any) -> Any:
    """Return what a lazy value stands for; anything else as it is.

    Raises:
        PipelineError: its step failed.
    """
    if type(value) is not LazyValue:
        return value
    try:
        return object.__getattribute__(value, "_localtrack_value")
    except AttributeError:
        pass
    found = object.__getattribute__(value, "_localtrack_fetch")()
    object.__setattr__(value, "_localtrack_value", found)
    return found


def source_of(value: LazyValue) -> Any:
    """Return what a lazy value comes from."""
    return object.__getattribute__(value, "_localtrack_source")


def find_lazy(value: Any) -> list[LazyValue]:
    """Return the lazy values in a list, tuple or dict, at any depth."""
    if type(value) is LazyValue:
        return [value]
    if type(value) in (list, tuple, set):
        return [found for one in value for found in find_lazy(one)]
    if type(value) is dict:
        return [found for one in value.values() for found in find_lazy(one)]
    return []


def without_lazy(value: Any) -> Any:
    """Return a value with the lazy ones in its lists, tuples and dicts replaced by what they stand for."""
    if type(value) is LazyValue:
        return value_of(value)
    if type(value) in (list, tuple, set) and find_lazy(value):
        return type(value)(without_lazy(one) for one in value)
    if isinstance(value, Mapping) and type(value) is dict and find_lazy(value):
        return {key: without_lazy(one) for key, one in value.items()}
    return value


def _identity(value: Any) -> Any:
    return value


def _add_operators() -> None:
    """Give the class Python's operators: each is the one of the value."""

    def unary(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda self: function(value_of(self))

    def binary(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        return lambda self, other: function(value_of(self), value_of(other))

    def swapped(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        return lambda self, other: function(value_of(other), value_of(self))

    for name in _UNARY:
        setattr(LazyValue, f"__{name}__", unary(getattr(operator, f"__{name}__")))
    for name in (*_BINARY, *_COMPARED):
        setattr(LazyValue, f"__{name}__", binary(getattr(operator, f"__{name}__")))
    for name in _BINARY:
        setattr(LazyValue, f"__r{name}__", swapped(getattr(operator, f"__{name}__")))
        setattr(LazyValue, f"__i{name}__", binary(getattr(operator, f"__i{name}__")))


_add_operators()
