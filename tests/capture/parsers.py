"""Parsers of every kind, and ways to watch them parse."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import enum
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from localtrack.capture.arguments import ArgparseHook, ParsedArguments


class Color(enum.Enum):
    """A choice that JSON has no form for."""

    RED = "r"
    BLUE = "b"


def pair(text: str) -> tuple[int, int]:
    """Parse ``1x2``."""
    left, _, right = text.partition("x")
    return int(left), int(right)


def positive(text: str) -> int:
    """Parse a positive number."""
    if int(text) <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return int(text)


@contextlib.contextmanager
def watching(
    overrides: Mapping[str, object] | None = None, include: Callable[[str], bool] = lambda dest: True
) -> Iterator[list[ParsedArguments]]:
    """Record every parse; no hook may note an internal error, and undo restores the class."""
    before = dict(vars(argparse.ArgumentParser))
    seen: list[ParsedArguments] = []
    hook = ArgparseHook(seen.append, overrides, include)
    hook.install()
    try:
        yield seen
    finally:
        hook.uninstall()
    assert hook.errors == []
    assert dict(vars(argparse.ArgumentParser)) == before


def rerun(
    build: Callable[[], argparse.ArgumentParser], argv: list[str], **edits: object
) -> tuple[argparse.Namespace, argparse.Namespace, ParsedArguments]:
    """Parse ``argv``, store as JSON, edit, and parse nothing with the stored values."""
    with watching() as seen:
        first = build().parse_args(argv)
    (parsed,) = seen
    stored = {**json.loads(json.dumps(dict(parsed.values))), **edits}
    with watching(stored) as seen:
        second = build().parse_args([])
    (again,) = seen
    return first, second, again


def build_wide() -> argparse.ArgumentParser:
    """Return a parser with an argument of each kind."""
    parser = argparse.ArgumentParser(prog="wide")
    add = parser.add_argument
    add("--name")
    add("--title", default="café", help="the %(default)s title")
    add("--lr", type=float, default=0.1)
    add("--scale", type=float, default=1)
    add("--epochs", "-e", type=int, default="3", help="how long")
    add("--needed", type=int, required=True)
    add("--flag", action="store_true")
    add("--off", dest="on", action="store_false")
    add("--maybe", action=argparse.BooleanOptionalAction, default=None)
    add("--mode", action="store_const", const=Color.RED, default=Color.BLUE)
    add("--fast", dest="speed", action="store_const", const="fast", default="medium")
    add("--slow", dest="speed", action="store_const", const="slow")
    add("-v", "--verbose", action="count", default=0)
    add("--tag", action="append", type=str.upper, default=["BASE"])
    add("--size", action="append", nargs=2, type=int)
    add("--more", action="extend", nargs="+", type=float)
    add("--part", action="append_const", const=1, dest="parts")
    add("--other-part", action="append_const", const=2, dest="parts")
    add("--many", nargs="*", type=int, default=(1, 2))
    add("--some", nargs="+")
    add("--three", nargs=3, type=float)
    add("--log", nargs="?", const="here", default=None)
    add("--level", nargs="?", type=int, const=5, default=1)
    add("--pick", type=int, choices=[1, 2, 3], default=2)
    add("--word", choices=["a", "b"], nargs="*")
    add("--color", type=Color, choices=list(Color), default=Color.RED)
    add("--path", type=Path, default=Path("data"))
    add("--paths", type=Path, nargs="*")
    add("--day", type=datetime.date.fromisoformat, default=datetime.date(2024, 2, 29))
    add("--pair", type=pair, default=(3, 4))
    add("--config", type=json.loads, default={"a": [1, None]})
    add("--truth", type=bool, default=True)
    add("--hidden", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    add("--complex", type=complex, default=None)
    add("--version", action="version", version="1")
    return parser


def build_tree() -> argparse.ArgumentParser:
    """Return a parser with sub-commands in two layers, the inner one unnamed."""
    parser = argparse.ArgumentParser(prog="tree")
    parser.add_argument("root", type=Path)
    parser.add_argument("--extra", type=int, default="4")
    parser.add_argument("--seed", type=int, default=0)
    commands = parser.add_subparsers(dest="cmd", required=True)
    train = commands.add_parser("train", aliases=["t"])
    train.add_argument("data")
    train.add_argument("--lr", type=float, default=0.5)
    train.set_defaults(function=build_wide)
    inner = train.add_subparsers()
    sgd = inner.add_parser("sgd")
    sgd.add_argument("--momentum", type=float, required=True)
    adam = inner.add_parser("adam")
    adam.add_argument("--beta", type=float, default="0.9")
    test = commands.add_parser("test")
    test.add_argument("--lr", type=int, default=9)
    test.add_argument("files", nargs="*")
    return parser
