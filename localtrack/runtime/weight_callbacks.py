"""Callbacks around the capture of saved and loaded weights, by ClearML's names: clients rename checkpoints with them.

The capture calls :meth:`WeightsFileHandler.run_pre_callbacks` before it records a file, and
:meth:`WeightsFileHandler.run_post_callbacks` after it.

Source: ClearML's clearml.binding.frameworks.WeightsFileHandler; pytorch-ignite's ClearMLSaver.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias


class CallbackType(str, Enum):
    """What happens to the file."""

    save = "save"
    load = "load"

    def __str__(self) -> str:
        return self.value


@dataclass
class ModelInfo:
    """A file of weights on its way into a task; callbacks may change it.

    Attributes:
        model: the recorded model; None before it is recorded.
        upload_filename: name of the stored copy.
        local_model_path: the file that was written or read.
        local_model_id: what makes two files the same model: a second one replaces the first.
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


_Action: TypeAlias = CallbackType  # in the class below the plain names are its attributes
_Info: TypeAlias = ModelInfo
Callback = Callable[[CallbackType, ModelInfo], "ModelInfo | None"]

#: Called when a callback was added, before it can be asked for: by those who do not ask each time whether there is one.
when_added: list[Callable[[], object]] = []


class WeightsFileHandler:
    """Registry of the callbacks; one for the process, safe for threads."""

    CallbackType = CallbackType
    ModelInfo = ModelInfo

    _lock = threading.Lock()
    _numbers = itertools.count(1)
    _pre: dict[int, Callback] = {}
    _post: dict[int, Callback] = {}

    @classmethod
    def add_pre_callback(cls, callback_function: Callback) -> int:
        """Call a function before a file is recorded; one that returns None keeps it from being recorded.

        Returns:
            Number for :meth:`remove_pre_callback`; the one it has when it was added before.
        """
        return cls._add(cls._pre, callback_function)

    @classmethod
    def add_post_callback(cls, callback_function: Callback) -> int:
        """Call a function after a file is recorded, with the model.

        Returns:
            Number for :meth:`remove_post_callback`; the one it has when it was added before.
        """
        return cls._add(cls._post, callback_function)

    @classmethod
    def remove_pre_callback(cls, handle: int) -> bool:
        """Return whether there was such a callback."""
        with cls._lock:
            return cls._pre.pop(handle, None) is not None

    @classmethod
    def remove_post_callback(cls, handle: int) -> bool:
        """Return whether there was such a callback."""
        with cls._lock:
            return cls._post.pop(handle, None) is not None

    @classmethod
    def has_callbacks(cls) -> bool:
        """Tell whether anybody wants to see files: each is recorded at once then, in the thread that saves it."""
        return bool(cls._pre or cls._post)

    @classmethod
    def run_pre_callbacks(cls, action: _Action, info: _Info) -> _Info | None:
        """Return what to record, None for nothing; whatever a callback raises goes to the caller."""
        return cls._run(cls._pre, action, info)

    @classmethod
    def run_post_callbacks(cls, action: _Action, info: _Info) -> _Info | None:
        """Tell the callbacks what was recorded."""
        return cls._run(cls._post, action, info)

    @classmethod
    def _add(cls, callbacks: dict[int, Callback], function: Callback) -> int:
        with cls._lock:
            for number, known in callbacks.items():
                if known == function:
                    return number
            number = next(cls._numbers)
            callbacks[number] = function
            for tell in when_added:
                tell()
            return number

    @classmethod
    def _run(cls, callbacks: dict[int, Callback], action: _Action, info: _Info) -> _Info | None:
        with cls._lock:
            functions = list(callbacks.values())
        current: _Info | None = info
        for function in functions:
            if current is None:
                return None
            current = function(action, current)
        return current
