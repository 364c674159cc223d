"""The script of a step that is a function: its source, and what of its module it uses.

Source: docs/how-to/pipelines.md, "What goes with a function".
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from types import FunctionType, ModuleType
from typing import Any

from localtrack.errors import InvalidValueError

PIPELINE_DECORATORS = ("component", "pipeline")
COMPONENT = "_localtrack_component"
RUNNER = "from localtrack.automation.pipelines.step import go_to_place, run_step\n\ngo_to_place()"


def innermost(function: Callable[..., Any]) -> FunctionType:
    """Return the function below its decorators, whether or not they use ``functools.wraps``.

    Raises:
        InvalidValueError: it is no function written in Python.
    """
    found: Any = function
    while True:
        inner = getattr(found, "__wrapped__", None)
        if inner is None and isinstance(found, FunctionType) and "<locals>" in found.__qualname__:
            inner = next((one for one in _enclosed(found) if _is_decorated(one)), None)
        if inner is None:
            break
        found = inner
    if not isinstance(found, FunctionType) or found.__name__ == "<lambda>":
        raise InvalidValueError(f"a step is a function with a name, made by def, not {function!r:.100}")
    return found


def make_script(
    function: Callable[..., Any],
    returns: Sequence[str],
    helpers: Sequence[Callable[..., Any]] = (),
    *,
    with_imports: bool = True,
    options: str = "",
) -> str:
    """Return a script that runs a function as a step.

    Args:
        function: the function; its decorators stay, except those of pipelines.
        returns: names of what it returns.
        helpers: functions that it uses in a way that can't be seen.
        with_imports: whether the imports of its module that it uses go with it.
        options: further arguments of ``run_step``, as code.

    Raises:
        InvalidValueError: a function without source, or none at all.
    """
    inner = innermost(function)
    collected = _Collector(with_imports)
    for helper in helpers:
        collected.add_function(innermost(helper))
    collected.add_function(inner)
    parts = [f'"""A step of a pipeline, made from the function {inner.__name__} of {inner.__module__}."""']
    if collected.future:
        parts.append("from __future__ import annotations")
    parts.append("\n".join([RUNNER, *collected.imports]))
    parts.extend(collected.parts)
    parts.append(f'if __name__ == "__main__":\n    run_step({inner.__name__}, {tuple(returns)!r}{options})')
    return "\n\n\n".join(parts) + "\n"


class _Collector:
    """Gathers the source of a function and of what it uses, each once, what is used first."""

    def __init__(self, with_imports: bool) -> None:
        self.with_imports = with_imports
        self.imports: list[str] = []
        self.parts: list[str] = []
        self.future = False
        self._seen: set[int] = set()
        self._names: dict[str, int] = {}

    def add_function(self, function: FunctionType) -> None:
        """Add a function and what it uses."""
        closed = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=False))
        values = {name: _content(cell) for name, cell in closed.items()}
        self._add(function, function.__globals__, values)

    def _add(self, thing: Any, names: dict[str, Any], closed: dict[str, Any]) -> None:
        if id(thing) in self._seen:
            return
        self._seen.add(id(thing))
        text = _source(thing)
        tree = ast.parse(text)
        text = _without_pipeline_decorators(text, tree)
        tree = ast.parse(text)
        module = sys.modules.get(thing.__module__)
        imported = _imports_of(module)
        self.future = self.future or "__future__" in imported.get("annotations", "")
        for name in _used_names(tree):
            if name in closed:
                self._add_value(name, closed[name], names, imported)
            elif name in names:
                self._add_value(name, names[name], names, imported)
        self.parts.append(text.rstrip())

    def _add_value(self, name: str, value: Any, names: dict[str, Any], imported: dict[str, str]) -> None:
        if self._names.get(name) == id(value):
            return
        self._names[name] = id(value)
        if name in imported:
            if self.with_imports and imported[name] not in self.imports:
                self.imports.append(imported[name])
            return
        component = getattr(value, COMPONENT, None)
        thing = innermost(component or value) if isinstance(component or value, FunctionType) else value
        if isinstance(thing, FunctionType) and thing.__globals__ is names:
            self.add_function(thing)
            if thing.__name__ != name:
                self.parts.append(f"{name} = {thing.__name__}")
        elif isinstance(thing, type) and thing.__module__ == names.get("__name__"):
            self._add(thing, names, {})
        elif isinstance(thing, ModuleType):
            self.imports.append(f"import {thing.__name__} as {name}")
        elif isinstance(thing, (FunctionType, type)):
            self.imports.append(f"from {thing.__module__} import {thing.__qualname__} as {name}")
        elif _is_literal(value):
            self.parts.append(f"{name} = {value!r}")


def _source(thing: Any) -> str:
    try:
        return textwrap.dedent(inspect.getsource(thing))
    except (OSError, TypeError) as error:
        raise InvalidValueError(
            f"the source of {thing.__qualname__} can't be read ({error}): a step needs a function from a file"
        ) from None


def _enclosed(function: FunctionType) -> Iterator[FunctionType]:
    for cell in function.__closure__ or ():
        value = _content(cell)
        if isinstance(value, FunctionType):
            yield value


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a name that is bound later
        return None


def _is_decorated(function: FunctionType) -> bool:
    """Tell whether a decorator stands above a function, or its own wrapper does not say."""
    if "<locals>" in function.__qualname__ and any(_is_decorated(one) for one in _enclosed(function)):
        return True
    try:
        tree = ast.parse(_source(function))
    except (InvalidValueError, SyntaxError):
        return False
    body = tree.body[0]
    return isinstance(body, (ast.FunctionDef, ast.AsyncFunctionDef)) and bool(body.decorator_list)


def _without_pipeline_decorators(text: str, tree: ast.Module) -> str:
    body = tree.body[0]
    if not isinstance(body, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return text
    lines = text.splitlines()
    for one in body.decorator_list:
        called = one.func if isinstance(one, ast.Call) else one
        if isinstance(called, ast.Attribute) and called.attr in PIPELINE_DECORATORS:
            for number in range(one.lineno - 1, one.end_lineno or one.lineno):
                lines[number] = ""
    return "\n".join(lines).lstrip("\n") + "\n"


def _used_names(tree: ast.Module) -> list[str]:
    found = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
    return list(dict.fromkeys(found))


def _imports_of(module: ModuleType | None) -> dict[str, str]:
    """Return the import statements of a module by the name that they bind, relative ones made absolute."""
    try:
        tree = ast.parse(inspect.getsource(module)) if module is not None else ast.Module([], [])
    except (OSError, TypeError, SyntaxError):
        return {}
    found: dict[str, str] = {}
    package = str(getattr(module, "__package__", "") or "")
    for node in _top_level(tree.body):
        if isinstance(node, ast.Import):
            for one in node.names:
                text = f"import {one.name}" + (f" as {one.asname}" if one.asname else "")
                found[one.asname or one.name.partition(".")[0]] = text
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join(part for part in (*parents, node.module or "") if part)
            for one in node.names:
                text = f"from {source} import {one.name}" + (f" as {one.asname}" if one.asname else "")
                found[one.asname or one.name] = text
    return found


def _top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        yield node
        if isinstance(node, (ast.Try, ast.If)):
            yield from _top_level([*node.body, *node.orelse])


def _is_literal(value: Any) -> bool:
    try:
        return bool(type(ast.literal_eval(repr(value))) is type(value) and ast.literal_eval(repr(value)) == value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False
