"""Searches without a model of what they search: every combination, or combinations at random.

Source: ClearML's GridSearch and RandomSearch.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from localtrack.automation.job import BaseJob
from localtrack.automation.strategy import SearchStrategy
from localtrack.records.parameters import full_name

MOST_DRAWS = 42


class GridSearch(SearchStrategy):
    """Every combination once, in the order of the parameters; takes what :class:`SearchStrategy` does."""

    _left: Iterator[dict[str, Any]] | None = None

    def _combinations(self) -> Iterator[dict[str, Any]]:
        axes = [parameter.to_list() for parameter in self._hyper_parameters]
        for parts in itertools.product(*axes):
            yield {name: value for part in parts for name, value in part.items()}

    def create_job(self) -> BaseJob | None:
        """Return a job for the next combination; None when all are done."""
        tried = [_normal(parameters) for parameters in self.get_created_jobs_ids().values()]
        if self._left is None:
            self._left = self._combinations()
        for combination in self._left:
            if _normal(combination) not in tried:  # else a run that was cut short has done it
                return self.helper_create_job(self._base_task_id, parameter_override=combination)
        return None


class RandomSearch(SearchStrategy):
    """Combinations at random, none twice; takes what :class:`SearchStrategy` does.

    It ends with ``total_max_jobs``, a time limit, or when many draws in a row give only what was tried.
    """

    def create_job(self) -> BaseJob | None:
        """Return a job for a combination that was not tried yet; None when there seems to be none."""
        tried = [_normal(parameters) for parameters in self.get_created_jobs_ids().values()]
        for _ in range(MOST_DRAWS):
            drawn: dict[str, Any] = {}
            for parameter in self._hyper_parameters:
                drawn.update(parameter.get_value())
            if _normal(drawn) not in tried:
                return self.helper_create_job(self._base_task_id, parameter_override=drawn)
        return None


def _normal(parameters: dict[str, Any]) -> dict[str, Any]:
    return {full_name(name): value for name, value in parameters.items()}
