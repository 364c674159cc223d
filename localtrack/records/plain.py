"""Data classes that cost nothing to define.

The standard ones compile each method of each class anew from text, a millisecond a class, and import :mod:`inspect`
with its tokenizer and disassembler: together half of what ``from localtrack import Task`` took. These share one set of
methods, which walk over the fields. A type checker sees the standard ones, whose meaning these have; what the package
does not use (``order``, ``kw_only``, ``InitVar``, inheritance of fields) they do not have.

Source: decision 0012 (docs/decisions/0012-plain-data-classes.md); :mod:`dataclasses` for the meaning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["dataclass", "field", "fields", "replace"]

if TYPE_CHECKING:
    from dataclasses import dataclass, field, fields, replace
else:
    from operator import attrgetter

    _MISSING = object()
    _FIELDS = "__plain_fields__"
    _OF_DICT = ("__dict__", "__weakref__")  # what a class with slots does not have

    class Field:
        """One field of a class: its name, and what it is when it is not given."""

        __slots__ = ("compare", "default", "default_factory", "name", "repr", "type")

        def __init__(self, default, default_factory, repr, compare):
            self.name = ""
            self.type = ""
            self.default = default
            self.default_factory = default_factory
            self.repr = repr
            self.compare = compare

    def field(*, default=_MISSING, default_factory=_MISSING, repr=True, compare=True):
        """What :func:`dataclasses.field` does."""
        return Field(default, default_factory, repr, compare)

    def fields(record):
        """The fields of a class, or of an object of it, in order."""
        return tuple(getattr(record, _FIELDS).values())

    def replace(record, /, **changes):
        """A copy of ``record`` in which ``changes`` are other."""
        for name in getattr(record, _FIELDS):
            if name not in changes:
                changes[name] = getattr(record, name)
        return type(record)(**changes)

    def dataclass(*, frozen=False, slots):
        """What ``dataclasses.dataclass(frozen=frozen, slots=True)`` does; there are none without slots."""
        return lambda cls: _define(cls, frozen)

    def _define(cls, frozen):
        found = {}
        for name, annotation in cls.__annotations__.items():
            default = cls.__dict__.get(name, _MISSING)
            found[name] = default if isinstance(default, Field) else Field(default, _MISSING, True, True)
            found[name].name = name
            found[name].type = annotation
        own = {name: value for name, value in cls.__dict__.items() if name not in found and name not in _OF_DICT}
        namespace = {"__slots__": tuple(found), **_methods(found, frozen), **own}
        made = type(cls)(cls.__name__, cls.__bases__, namespace)
        made.__qualname__ = cls.__qualname__
        return made

    def _methods(found, frozen):
        compared = tuple(name for name, one in found.items() if one.compare)
        values_of = _values_getter(compared)

        def equals(self, other):
            if other.__class__ is not self.__class__:
                return NotImplemented
            return values_of(self) == values_of(other)

        def hash_of(self):
            return hash(values_of(self))

        methods = {
            _FIELDS: found, "__dataclass_fields__": _StandardFields(), "__init__": _initializer(found),
            "__repr__": _repr, "__eq__": equals, "__hash__": hash_of if frozen else None,
            "__getstate__": _getstate, "__setstate__": _setstate,
        }  # fmt: skip
        if frozen:
            methods |= {"__setattr__": _refuse_to_set, "__delattr__": _refuse_to_delete}
        return methods

    def _values_getter(names):
        if len(names) > 1:
            return attrgetter(*names)
        return lambda record: tuple(getattr(record, name) for name in names)

    def _initializer(found):
        names = tuple(found)
        defaults = tuple((name, one.default, one.default_factory) for name, one in found.items())
        put = object.__setattr__

        def initialize(self, *values, **named):
            for name, value in zip(names, values, strict=False):
                put(self, name, value)
            missing = []
            for name, default, factory in defaults[len(values) :]:
                if name in named:
                    put(self, name, named.pop(name))
                elif default is not _MISSING:
                    put(self, name, default)
                elif factory is not _MISSING:
                    put(self, name, factory())
                else:
                    missing.append(name)
            if named or missing or len(values) > len(names):
                raise TypeError(_complaint(type(self).__qualname__, names, values, named, missing))

        return initialize

    def _complaint(title, names, values, named, missing):
        if len(values) > len(names):
            return f"{title}.__init__() takes {len(names)} values but {len(values)} were given"
        for name in named:
            if name in names:
                return f"{title}.__init__() got multiple values for argument {name!r}"
            return f"{title}.__init__() got an unexpected keyword argument {name!r}"
        return f"{title}.__init__() missing {', '.join(map(repr, missing))}"

    class _StandardFields:
        """The fields as :mod:`dataclasses` knows them, made when its functions ask for them."""

        def __get__(self, record, owner):
            import dataclasses

            specs = []
            for name, one in getattr(owner, _FIELDS).items():
                given = {"default": one.default, "default_factory": one.default_factory}
                known = {key: value for key, value in given.items() if value is not _MISSING}
                spec = dataclasses.field(**known, repr=one.repr, compare=one.compare)
                specs.append((name, one.type, spec))
            owner.__dataclass_fields__ = dataclasses.make_dataclass(owner.__name__, specs).__dataclass_fields__
            return owner.__dataclass_fields__

    def _repr(self):
        shown = (f"{name}={getattr(self, name)!r}" for name, one in getattr(self, _FIELDS).items() if one.repr)
        return f"{type(self).__qualname__}({', '.join(shown)})"

    def _getstate(self):
        return [getattr(self, name) for name in getattr(self, _FIELDS)]

    def _setstate(self, state):
        for name, value in zip(getattr(self, _FIELDS), state, strict=True):
            object.__setattr__(self, name, value)

    def _refuse_to_set(self, name, value):
        raise AttributeError(f"cannot assign to field {name!r} of a {type(self).__qualname__}")

    def _refuse_to_delete(self, name):
        raise AttributeError(f"cannot delete field {name!r} of a {type(self).__qualname__}")
