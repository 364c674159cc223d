"""Models, under the module's name that ClearML has: ``from clearml.model import Model`` with the first word changed."""

from localtrack.api.model import InputModel, Model, OutputModel

__all__ = ["InputModel", "Model", "OutputModel"]
