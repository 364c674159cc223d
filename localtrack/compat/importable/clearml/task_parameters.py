"""Declared parameters."""

from localtrack.task_parameters import TaskParameters, param, percent_param, range_validator

__all__ = ["TaskParameters", "param", "percent_param", "range_validator"]
