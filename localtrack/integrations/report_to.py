"""Makes ``TrainingArguments(report_to="localtrack")`` known to transformers, without importing that.

The names that ``report_to`` takes are a table in transformers, which has no entry points. Ours goes into it when the
script first takes ``Task`` from localtrack, or as soon as transformers is imported after that.

Source: docs/how-to/integrations.md, "Hugging Face"; transformers' INTEGRATION_TO_CALLBACK.
"""

from __future__ import annotations

import sys
from types import ModuleType

from localtrack.runtime.import_hooks import PostImportHook

NAME = "localtrack"
TABLE = "INTEGRATION_TO_CALLBACK"
MODULE = "transformers.integrations.integration_utils"


def _register(module: ModuleType) -> None:
    _hook.remove()
    table = getattr(module, TABLE, None)
    if not isinstance(table, dict):
        return  # another version of transformers: report_to says which names it knows
    try:
        from localtrack.integrations.transformers import LocaltrackCallback
    except Exception as error:  # the user's import of transformers goes on
        from localtrack.integrations.scopes import say_failed

        say_failed('report_to="localtrack"', error)
        return
    table.setdefault(NAME, LocaltrackCallback)


_hook = PostImportHook(_register)


def install() -> None:
    """Register the name, now or when transformers is imported."""
    module = sys.modules.get(MODULE)
    if module is not None and hasattr(module, TABLE):
        _register(module)
    else:
        _hook.watch([MODULE])
        _hook.install()
