"""The line in which a person filters tasks: Python's own comparisons, never run as Python.

``params.lr < 0.01 and metrics.loss.min < 0.3 and status == completed and 't3' in tags``. A name that is no field is
the text it spells. ``matches(name, '^run')`` takes a regular expression.

Source: docs/reference/cli.md, "Filters"; Python's ``ast``.
"""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable
from typing import Any

from localtrack.errors import InvalidValueError
from localtrack.records.fields import PLAIN_FIELDS, TIME_FIELDS, Field, parse_field
from localtrack.records.filters import Condition, as_number, compile_pattern, equal, time_test, value_text

LENGTH_LIMIT = 10_000
_WORDS: dict[str, Any] = {"true": True, "false": False, "none": None, "nan": float("nan"), "inf": float("inf")}
_ORDER: dict[type[ast.cmpop], tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Lt: ("<", operator.lt),
    ast.LtE: ("<=", operator.le),
    ast.Gt: (">", operator.gt),
    ast.GtE: (">=", operator.ge),
}
_MIRROR: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.Gt, ast.Gt: ast.Lt, ast.LtE: ast.GtE, ast.GtE: ast.LtE, ast.Eq: ast.Eq, ast.NotEq: ast.NotEq,
}  # fmt: skip
_ACCEPTED = "accepted are comparisons of fields with values, in, not in, matches(field, 'regex'), and, or, not"
Values = dict[Field, Any]
Evaluate = Callable[[Values], bool]


def parse(text: str) -> tuple[Condition, ...]:
    """Return the conditions of an expression; those that a top-level ``and`` joins stand alone.

    Raises:
        InvalidValueError: it can't be understood; the message shows where.
    """
    return _Parser(text).conditions()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.fields: dict[Field, None] = {}

    def conditions(self) -> tuple[Condition, ...]:
        if not self.text.strip():
            return ()
        tree = self._tree()
        parts = tree.values if isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.And) else [tree]
        found = []
        for part in parts:
            self.fields = {}
            evaluate = self._boolean(part)
            found.append(_condition(tuple(self.fields), evaluate))
        return tuple(found)

    def _tree(self) -> ast.expr:
        if len(self.text) > LENGTH_LIMIT:
            raise InvalidValueError(f"the filter is longer than {LENGTH_LIMIT} characters", expression=self.text[:80])
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a pattern such as '\\d+' is fine here
                return ast.parse(self.text.strip(), mode="eval").body
        except SyntaxError as error:
            place = error.offset - 1 if error.offset else len(self.text.strip())
            raise self._error(place, error.msg or "this can't be read") from None
        except (ValueError, RecursionError, MemoryError):
            raise self._error(0, "it can't be read") from None

    def _error(self, place: ast.AST | int, what: str) -> InvalidValueError:
        column = place if isinstance(place, int) else self._column(place)
        shown = self.text.strip()
        line = shown.splitlines()[0] if shown else ""
        return InvalidValueError(
            f"filter, column {column + 1}: {what}; {_ACCEPTED}\n  {line}\n  {' ' * column}^",
            expression=self.text,
            column=column + 1,
        )

    def _column(self, node: ast.AST) -> int:
        offset: int = getattr(node, "col_offset", 0)  # in bytes of UTF-8
        line = (self.text.strip().splitlines() or [""])[0]
        return len(line.encode()[:offset].decode(errors="ignore"))

    def _boolean(self, node: ast.expr) -> Evaluate:
        if isinstance(node, ast.BoolOp):
            parts = [self._boolean(value) for value in node.values]
            combine = all if isinstance(node.op, ast.And) else any
            return lambda values: combine(part(values) for part in parts)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            inner = self._boolean(node.operand)
            return lambda values: not inner(values)
        if isinstance(node, ast.Compare):
            return self._chain(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        one = self._field(node)
        if one is not None:
            self.fields[one] = None
            return lambda values: bool(values[one])
        raise self._error(node, "this is neither a comparison nor a field")

    def _chain(self, node: ast.Compare) -> Evaluate:
        sides = [node.left, *node.comparators]
        parts = [self._compare(a, op, b, node) for a, op, b in zip(sides, node.ops, sides[1:], strict=False)]
        return parts[0] if len(parts) == 1 else lambda values: all(part(values) for part in parts)

    def _compare(self, left: ast.expr, op: ast.cmpop, right: ast.expr, node: ast.Compare) -> Evaluate:
        if isinstance(op, (ast.In, ast.NotIn)):
            inside = self._inside(left, right)
            return inside if isinstance(op, ast.In) else lambda values: not inside(values)
        if isinstance(op, (ast.Is, ast.IsNot)):
            op = ast.Eq() if isinstance(op, ast.Is) else ast.NotEq()
        one, other = self._field(left), self._field(right)
        if one is not None and other is not None:
            return self._compare_fields(one, op, other)
        if one is None and other is not None:
            one, right, op = other, left, _MIRROR[type(op)]()
        if one is None:
            raise self._error(node, "no side of this comparison is a field")
        return self._compare_value(one, op, right)

    def _compare_value(self, one: Field, op: ast.cmpop, node: ast.expr) -> Evaluate:
        wanted = self._constant(node)
        self.fields[one] = None
        if one.kind == "plain" and one.name in TIME_FIELDS and wanted is not None:
            symbol = _ORDER[type(op)][0] if type(op) in _ORDER else ""
            try:
                test = time_test(one.name, symbol, wanted)
            except InvalidValueError as error:
                raise self._error(node, error.message) from None
            if isinstance(op, ast.NotEq):
                return lambda values: not test(values[one])
            return lambda values: test(values[one])
        if isinstance(op, ast.Eq):
            return lambda values: equal(values[one], wanted)
        if isinstance(op, ast.NotEq):
            return lambda values: not equal(values[one], wanted)
        if wanted is None or isinstance(wanted, (list, bool)):
            raise self._error(node, "this has no order: compare with a number or a text")
        compare = _ORDER[type(op)][1]
        return lambda values: _ordered(compare, values[one], wanted)

    def _compare_fields(self, one: Field, op: ast.cmpop, other: Field) -> Evaluate:
        self.fields[one] = self.fields[other] = None
        if isinstance(op, ast.Eq):
            return lambda values: equal(values[one], values[other])
        if isinstance(op, ast.NotEq):
            return lambda values: not equal(values[one], values[other])
        compare = _ORDER[type(op)][1]
        return lambda values: _ordered(compare, values[one], values[other])

    def _inside(self, left: ast.expr, right: ast.expr) -> Evaluate:
        container = self._field(right)
        if container is not None:
            item = self._constant(left)
            self.fields[container] = None
            return lambda values: _contains(values[container], item)
        one = self._field(left)
        if one is None:
            raise self._error(left, "no side of this 'in' is a field")
        wanted = self._constant(right)
        if not isinstance(wanted, list):
            raise self._error(right, "'in' needs a list such as ['a', 'b'] here")
        self.fields[one] = None
        return lambda values: any(equal(values[one], item) for item in wanted)

    def _call(self, node: ast.Call) -> Evaluate:
        if not (isinstance(node.func, ast.Name) and node.func.id == "matches") or node.keywords or len(node.args) != 2:
            raise self._error(node, "the only call is matches(field, 'regex')")
        one = self._field(node.args[0])
        if one is None:
            raise self._error(node.args[0], "this is no field")
        try:
            search = compile_pattern(one.label, self._constant(node.args[1])).search
        except InvalidValueError as error:
            raise self._error(node.args[1], error.message) from None
        self.fields[one] = None
        return lambda values: search(value_text(values[one])) is not None

    def _path(self, node: ast.expr) -> str | None:
        """Return a dotted name; ``params["Args/lr"]`` is one too."""
        if isinstance(node, ast.Name):
            return node.id
        if isinstance(node, ast.Attribute):
            head = self._path(node.value)
            return None if head is None else f"{head}.{node.attr}"
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            head, key = self._path(node.value), node.slice.value
            return f"{head}.{key}" if head is not None and isinstance(key, (str, int)) else None
        return None

    def _field(self, node: ast.expr) -> Field | None:
        path = self._path(node)
        if path is None:
            return None
        if isinstance(node, ast.Name):  # a word that is no field is a text: completed, training
            return parse_field(path) if path in PLAIN_FIELDS else None
        try:
            return parse_field(path)
        except InvalidValueError as error:
            raise self._error(node, error.message) from None

    def _constant(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, (str, int, float))):
            return node.value
        if isinstance(node, ast.Name):
            return _WORDS.get(node.id.lower(), node.id)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
            value = self._constant(node.operand)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                return -value if isinstance(node.op, ast.USub) else value
        if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
            return [self._constant(item) for item in node.elts]
        raise self._error(node, "this is no plain value: a number, a text in quotes, a word, a list, true, false, none")


def _condition(fields: tuple[Field, ...], evaluate: Evaluate) -> Condition:
    if len(fields) == 1:
        (one,) = fields
        return Condition(fields, lambda value: evaluate({one: value}))
    return Condition(fields, lambda *values: evaluate(dict(zip(fields, values, strict=True))))


def _ordered(compare: Callable[[Any, Any], Any], stored: Any, wanted: Any) -> bool:
    if isinstance(stored, str) and isinstance(wanted, str):
        return bool(compare(stored, wanted))
    a, b = as_number(stored), as_number(wanted)
    return a is not None and b is not None and bool(compare(a, b))


def _contains(container: Any, item: Any) -> bool:
    if container is None:
        return False
    if isinstance(container, str):
        return str(item) in container
    if isinstance(container, (list, tuple, set, frozenset)):
        return any(equal(one, item) for one in container)
    return equal(container, item)
