"""``Model``, ``InputModel``, ``OutputModel``.

Source: ClearML's Model, InputModel, OutputModel; docs/reference/models.md.
"""

from __future__ import annotations

from localtrack.api.model.base import BaseModel
from localtrack.api.model.input import InputModel, Model
from localtrack.api.model.output import OutputModel

__all__ = ["BaseModel", "InputModel", "Model", "OutputModel"]
