"""Searches over parameters: those of localtrack."""

from localtrack.automation.job import ClearmlJob  # noqa: F401
from localtrack.automation.optimization import (  # noqa: F401
    Budget,
    GridSearch,
    HyperParameterOptimizer,
    MultiObjective,
    Objective,
    RandomSearch,
    SearchStrategy,
)
