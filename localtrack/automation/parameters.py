"""The space that a search goes through: ranges and sets of values for a task's parameters.

Values keep their types: a range of integers gives integers, and a discrete one what it was given.

Source: ClearML's clearml.automation.parameters.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from localtrack.errors import InvalidValueError

DEFAULT_SEED = 1337
SAMPLES_WITHOUT_STEP = 100
_KIND = "type"


class RandomSeed:
    """Where the random numbers of all searches of this process come from: one generator, touched by nobody else."""

    _seed: ClassVar[int] = DEFAULT_SEED
    _random: ClassVar[random.Random] = random.Random(DEFAULT_SEED)

    @staticmethod
    def set_random_seed(seed: int = DEFAULT_SEED) -> None:
        """Start the random numbers anew from a seed."""
        RandomSeed._seed = seed
        RandomSeed._random = random.Random(seed)

    @staticmethod
    def get_random_seed() -> int:
        """Return the seed."""
        return RandomSeed._seed


class Parameter(RandomSeed):
    """One parameter of a search.

    Args:
        name: as in the task: ``Section/name``; without a section it is in ``General``.

    Raises:
        InvalidValueError: no name.
    """

    _kinds: ClassVar[dict[str, type[Parameter]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        Parameter._kinds[cls.__name__] = cls

    def __init__(self, name: str | None) -> None:
        self.name = name

    def get_value(self) -> Mapping[str, Any]:
        """Return ``{name: value}`` with a value drawn at random."""
        raise NotImplementedError(f"{type(self).__name__}.get_value")

    def to_list(self) -> Sequence[Mapping[str, Any]]:
        """Return ``[{name: value}, ...]`` with every value there is."""
        raise NotImplementedError(f"{type(self).__name__}.to_list")

    def to_dict(self) -> dict[str, Any]:
        """Return the parameter as a dict that JSON can hold; see :meth:`from_dict`."""
        return {_KIND: type(self).__name__, **{name: _described(value) for name, value in vars(self).items()}}

    @classmethod
    def from_dict(cls, a_dict: Mapping[str, Any]) -> Parameter:
        """Return the parameter that :meth:`to_dict` described.

        Raises:
            InvalidValueError: it describes none.
        """
        kind = Parameter._kinds.get(str(a_dict.get(_KIND)))
        if kind is None:
            known = ", ".join(sorted(Parameter._kinds))
            raise InvalidValueError(f"{dict(a_dict)!r:.120} describes no parameter: {_KIND} must be one of {known}")
        made = kind.__new__(kind)
        vars(made).update({name: _restored(value) for name, value in a_dict.items() if name != _KIND})
        return made

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


class UniformParameterRange(Parameter):
    """A float from a range, all alike likely.

    Args:
        name: of the parameter.
        min_value: the lowest value.
        max_value: the highest value.
        step_size: distance of two values; without one, any value.
        include_max_value: whether ``max_value`` itself is one of them.

    Raises:
        InvalidValueError: an empty range, or a step that is not positive.
    """

    def __init__(
        self,
        name: str,
        min_value: float,
        max_value: float,
        step_size: float | None = None,
        include_max_value: bool = True,
    ) -> None:
        super().__init__(name)
        _check_range(name, min_value, max_value, step_size)
        self.min_value = float(min_value)
        self.max_value = float(max_value)
        self.step_size = None if step_size is None else float(step_size)
        self.include_max = include_max_value

    def get_value(self) -> dict[str, float]:
        """Return ``{name: value}`` with a value drawn at random."""
        return {str(self.name): self._to_value(self._draw())}

    def to_list(self) -> list[dict[str, float]]:
        """Return every value; of a range without steps, 100 points at equal distances."""
        return [{str(self.name): self._to_value(point)} for point in self._points()]

    def _draw(self) -> float:
        if self.step_size is None:
            return self.min_value + (self.max_value - self.min_value) * RandomSeed._random.random()
        return RandomSeed._random.choice(self._points())

    def _points(self) -> list[float]:
        step = self.step_size
        if step is None:
            count = SAMPLES_WITHOUT_STEP
            width = (self.max_value - self.min_value) / (count - 1 if self.include_max else count)
            return [self.min_value + number * width for number in range(count)]
        return [_tidy(self.min_value + number * step) for number in range(self._steps() + 1)]

    def _steps(self) -> int:
        """Return how many steps lead from the lowest value to the highest, never past it."""
        assert self.step_size is not None
        ratio = (self.max_value - self.min_value) / self.step_size
        count = math.floor(ratio + 1e-9)
        is_at_max = math.isclose(ratio, count, abs_tol=1e-9)
        return max(0, count - 1 if is_at_max and not self.include_max else count)

    def _to_value(self, point: float) -> float:
        return point


class LogUniformParameterRange(UniformParameterRange):
    """A float whose exponent comes from a range: ``base ** exponent``.

    Args:
        name: of the parameter.
        min_value: the lowest exponent.
        max_value: the highest exponent.
        base: of the power.
        step_size: distance of two exponents; without one, any exponent.
        include_max_value: whether ``max_value`` itself is one of them.

    Raises:
        InvalidValueError: an empty range, or a base that is not positive.
    """

    def __init__(
        self,
        name: str,
        min_value: float,
        max_value: float,
        base: float = 10,
        step_size: float | None = None,
        include_max_value: bool = True,
    ) -> None:
        super().__init__(name, min_value, max_value, step_size=step_size, include_max_value=include_max_value)
        if base <= 0:
            raise InvalidValueError(f"parameter {name!r}: base must be positive, not {base!r}", parameter=name)
        self.base = base

    def _to_value(self, point: float) -> float:
        return float(self.base**point)


class UniformIntegerParameterRange(Parameter):
    """An integer from a range, all alike likely.

    Args:
        name: of the parameter.
        min_value: the lowest value.
        max_value: the highest value.
        step_size: distance of two values.
        include_max_value: whether ``max_value`` itself is one of them.

    Raises:
        InvalidValueError: an empty range, or a step that is not positive.
    """

    def __init__(
        self, name: str, min_value: int, max_value: int, step_size: int = 1, include_max_value: bool = True
    ) -> None:
        super().__init__(name)
        _check_range(name, min_value, max_value, step_size)
        self.min_value = int(min_value)
        self.max_value = int(max_value)
        self.step_size = int(step_size)
        self.include_max = include_max_value

    def get_value(self) -> dict[str, int]:
        """Return ``{name: value}`` with a value drawn at random."""
        return {str(self.name): RandomSeed._random.choice(self._values())}

    def to_list(self) -> list[dict[str, int]]:
        """Return every value."""
        return [{str(self.name): value} for value in self._values()]

    def _values(self) -> range:
        found = range(self.min_value, self.max_value + (1 if self.include_max else 0), self.step_size)
        return found or range(self.min_value, self.min_value + 1)


class DiscreteParameterRange(Parameter):
    """One of some values, all alike likely.

    Args:
        name: of the parameter.
        values: what there is; of any type that a parameter can have.

    Raises:
        InvalidValueError: no values.
    """

    def __init__(self, name: str, values: Sequence[Any] = ()) -> None:
        super().__init__(name)
        if not name or not isinstance(name, str):
            raise InvalidValueError(f"a parameter needs a name, such as 'Args/lr', not {name!r}")
        self.values = list(values)
        if not self.values:
            raise InvalidValueError(f"parameter {name!r} has no values to choose from", parameter=name)

    def get_value(self) -> dict[str, Any]:
        """Return ``{name: value}`` with a value drawn at random."""
        return {str(self.name): RandomSeed._random.choice(self.values)}

    def to_list(self) -> list[dict[str, Any]]:
        """Return every value."""
        return [{str(self.name): value} for value in self.values]


class ParameterSet(Parameter):
    """Several parameters that go together: one of some combinations, all alike likely.

    Args:
        parameter_combinations: dicts of value by name. In place of a value there may be a range: its values are taken
            under its own name where it has one, under the key where not.

    Raises:
        InvalidValueError: no combinations, or one that is no dict.
    """

    def __init__(self, parameter_combinations: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(None)
        if not parameter_combinations or not all(isinstance(one, Mapping) for one in parameter_combinations):
            raise InvalidValueError("a ParameterSet takes a list of dicts, each of value by name, and not an empty one")
        self.values = [dict(one) for one in parameter_combinations]

    def get_value(self) -> dict[str, Any]:
        """Return one combination, with values drawn from the ranges in it."""
        drawn: dict[str, Any] = {}
        for name, value in RandomSeed._random.choice(self.values).items():
            drawn.update(value.get_value() if isinstance(value, Parameter) else {name: value})
        return drawn

    def to_list(self) -> list[dict[str, Any]]:
        """Return every combination, with every value of the ranges in it."""
        return [dict(found) for combination in self.values for found in _expanded(combination)]


def _expanded(combination: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    axes = [value.to_list() if isinstance(value, Parameter) else [{name: value}] for name, value in combination.items()]
    for parts in itertools.product(*axes):
        yield {name: value for part in parts for name, value in part.items()}


def _check_range(name: str, low: float, high: float, step: float | None) -> None:
    if not name or not isinstance(name, str):
        raise InvalidValueError(f"a parameter needs a name, such as 'Args/lr', not {name!r}")
    if not (math.isfinite(low) and math.isfinite(high)) or low > high:
        raise InvalidValueError(f"parameter {name!r}: no values from {low!r} to {high!r}", parameter=name)
    if step is not None and not step > 0:
        raise InvalidValueError(f"parameter {name!r}: step_size must be positive, not {step!r}", parameter=name)


def _tidy(value: float) -> float:
    """Return a value without the error that adding steps of a decimal fraction leaves: 0.3, not 0.30000000000000004."""
    return float(f"{value:.12g}")


def _described(value: Any) -> Any:
    if isinstance(value, Parameter):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {name: _described(item) for name, item in value.items()}
    return [_described(item) for item in value] if isinstance(value, (list, tuple)) else value


def _restored(value: Any) -> Any:
    if isinstance(value, Mapping):
        if value.get(_KIND) in Parameter._kinds:
            return Parameter.from_dict(value)
        return {name: _restored(item) for name, item in value.items()}
    return [_restored(item) for item in value] if isinstance(value, (list, tuple)) else value
