"""Functions that see every model file before and after it is recorded: ClearML's ``WeightsFileHandler`` callbacks.

Source: ClearML's WeightsFileHandler.add_pre_callback, add_post_callback, ModelInfo.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

SAVE, LOAD = "save", "load"


@dataclass
class ModelInfo:
    """What a callback sees of a model file, and may change.

    Attributes:
        model: the recorded model, an ``OutputModel`` or ``InputModel``; None before it is recorded.
        upload_filename: name of the file in the task, from which the model is named.
        local_model_path: absolute path of the file.
        local_model_id: what tells this model from others; a file saved under an id again replaces the model's weights.
        framework: such as ``PyTorch``.
        task: the task.
        weights_object: what was saved.
    """

    model: Any
    upload_filename: str | None
    local_model_path: str
    local_model_id: str
    framework: str
    task: Any
    weights_object: Any = None


Callback = Callable[[str, ModelInfo], "ModelInfo | None"]


class Callbacks:
    """Functions by the number that takes them away again.

    Attributes:
        functions: the functions, in the order in which they are called.
    """

    def __init__(self) -> None:
        self.functions: dict[int, Callback] = {}
        self._numbers = itertools.count(1)

    def add(self, function: Callback) -> int:
        """Add a function, called with ``"save"`` or ``"load"`` and the :class:`ModelInfo`; return its number."""
        for number, known in self.functions.items():
            if known == function:
                return number
        number = next(self._numbers)
        self.functions[number] = function
        return number

    def remove(self, number: int) -> bool:
        """Take a function away; False when there is none of that number."""
        return self.functions.pop(number, None) is not None

    def call(self, action: str, info: ModelInfo) -> ModelInfo | None:
        """Pass a file through all functions; None when one of them did not want it recorded.

        Raises:
            Exception: what a function raised.
        """
        result: ModelInfo | None = info
        for function in list(self.functions.values()):
            if result is None:
                return None
            result = function(action, result)
        return result


before = Callbacks()
after = Callbacks()
#: Makes the facade's objects from ids, set by the layer that has them: ``task(session)`` and ``model(action, id)``.
make_task: Callable[[Any], Any] | None = None
make_model: Callable[[str, str], Any] | None = None


def are_there() -> bool:
    """Tell whether anybody wants to see model files."""
    return bool(before.functions or after.functions)
