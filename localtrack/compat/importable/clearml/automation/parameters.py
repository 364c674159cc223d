"""Ranges of parameters: not there yet."""

from localtrack.compat.unsupported import SEARCHES, unsupported

UniformParameterRange = unsupported("UniformParameterRange", SEARCHES)
UniformIntegerParameterRange = unsupported("UniformIntegerParameterRange", SEARCHES)
LogUniformParameterRange = unsupported("LogUniformParameterRange", SEARCHES)
DiscreteParameterRange = unsupported("DiscreteParameterRange", SEARCHES)
ParameterSet = unsupported("ParameterSet", SEARCHES)

__all__ = [
    "DiscreteParameterRange",
    "LogUniformParameterRange",
    "ParameterSet",
    "UniformIntegerParameterRange",
    "UniformParameterRange",
]
