"""One file a framework: each hooks into it while a run is on, and is imported only once the framework is.

A binding is a module with

- ``FRAMEWORK``: its key in ``auto_connect_frameworks``,
- ``MODULES``: full names of the modules that it hooks into,
- ``install(ctx)``: called with a :class:`~localtrack.runtime.binding_context.BindingContext` for each of these as soon as
  it is imported; returns a function that takes everything off again, which ``ctx.patch.undo`` is for what was done
  through ``ctx.patch``.

Source: docs/contributing.md, "A binding".
"""

from localtrack.runtime.binding_context import BindingContext, Undo
from localtrack.runtime.patches import argument, observing

__all__ = ["BindingContext", "Undo", "argument", "observing"]
