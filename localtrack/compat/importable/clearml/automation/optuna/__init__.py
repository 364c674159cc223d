"""Search with optuna: that of localtrack, which says so where optuna is not installed."""

from localtrack.automation.optuna import __getattr__ as __getattr__
