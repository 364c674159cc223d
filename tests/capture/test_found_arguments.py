"""Parses that were over before anybody watched."""

from __future__ import annotations

import argparse
import json
import sys

from localtrack.capture.arguments import ParsedArguments, apply_overrides, find_parsed

from .parsers import Color, build_tree, build_wide, watching


def test_earlier_parses_are_found() -> None:
    """A parse before the hook is found by its parser and namespace in the callers' variables."""
    parser = build_tree()
    args = parser.parse_args(["r", "train", "d", "adam"])

    def inner() -> list[ParsedArguments]:
        unrelated = argparse.ArgumentParser()
        unrelated.add_argument("--nothing")
        return find_parsed(sys._getframe())

    found = [parsed for parsed in inner() if parsed.namespace is args]
    assert len(found) == 1
    assert found[0].values["cmd"] == "train"
    assert found[0].values["subcommand"] == "adam"
    assert found[0].parser is parser
    with watching() as seen:
        build_tree().parse_args(["r", "train", "d", "adam"])
    assert found[0].values == seen[0].values


def test_a_namespace_without_its_parser_is_described() -> None:
    """Where a function kept the parser to itself, the namespace alone gives names and values."""

    def parse() -> argparse.Namespace:
        return build_tree().parse_args(["r", "train", "d"])

    args = parse()
    (found,) = [parsed for parsed in find_parsed(sys._getframe()) if parsed.namespace is args]
    assert found.values == {"root": "r", "extra": 4, "seed": 0, "cmd": "train", "data": "d", "lr": 0.5}
    changed = apply_overrides(found, {"lr": 0.75, "ghost": 1})
    assert (args.lr, changed.overridden) == (0.75, ("lr",))


def test_what_a_script_adds_to_a_namespace_is_found() -> None:
    """What a script derives from its arguments and keeps beside them is a value, too; a function is not."""
    parser = build_wide()
    args = parser.parse_args(["--needed", "1"])
    args.device, args.run = "cpu", len
    (found,) = [parsed for parsed in find_parsed(sys._getframe()) if parsed.namespace is args]
    assert (found.values["device"], found.types["device"], found.values["needed"]) == ("cpu", "str", 1)
    assert "run" not in found.values


def test_stored_values_reach_a_parse_that_is_over() -> None:
    """A namespace found later takes the stored values with their types."""
    parser = build_wide()
    args = parser.parse_args(["--needed", "1"])
    (found,) = [parsed for parsed in find_parsed(sys._getframe()) if parsed.namespace is args]
    changed = apply_overrides(found, {"lr": "0.5", "color": "b", "needed": 1, "path": "data"})
    assert (args.lr, args.color) == (0.5, Color.BLUE)
    assert set(changed.overridden) == {"lr", "color"}
    assert changed.values["color"] == "b"


def test_searching_survives_odd_variables() -> None:
    """No frame, and namespaces of anything, give lists."""
    assert find_parsed(None) == []
    odd = argparse.Namespace(function=len, thing=object(), **{"a b": {1: Color.RED}})
    (found,) = [parsed for parsed in find_parsed(sys._getframe()) if parsed.namespace is odd]
    assert found.values["a b"] == {"1": "RED"}
    assert "function" not in found.values
    json.dumps(dict(found.values))
