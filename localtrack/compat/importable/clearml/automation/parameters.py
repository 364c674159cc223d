"""Ranges of parameters: those of localtrack."""

from localtrack.automation.parameters import (  # noqa: F401
    DiscreteParameterRange,
    LogUniformParameterRange,
    Parameter,
    ParameterSet,
    RandomSeed,
    UniformIntegerParameterRange,
    UniformParameterRange,
)
