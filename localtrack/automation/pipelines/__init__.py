"""Pipelines: steps that are tasks of their own, in the order that their inputs ask for.

Source: ClearML's PipelineController and PipelineDecorator; docs/how-to/pipelines.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from localtrack.automation.pipelines.controller import PipelineController
    from localtrack.automation.pipelines.decorator import PipelineDecorator

_HOMES = {"PipelineController": "controller", "PipelineDecorator": "decorator"}
__all__ = ["PipelineController", "PipelineDecorator"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
