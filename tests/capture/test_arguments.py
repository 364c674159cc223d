"""Arguments are recorded with their types, and stored ones reach the script's parser."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import enum
import io
import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localtrack.capture.arguments import ArgparseHook, ParsedArguments, apply_overrides, find_parsed


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


TEXT = st.text(alphabet=st.characters(codec="utf-8", exclude_categories=("C",)), min_size=1, max_size=5).filter(
    lambda text: not text.startswith("-")
)
INTEGER = st.integers(0, 99).map(str)
REAL = st.floats(min_value=0).map(repr) | st.just("nan")
WIDE_OPTIONS: dict[str, st.SearchStrategy[list[str]]] = {
    "--name": TEXT.map(lambda x: [x]),
    "--title": TEXT.map(lambda x: [x]),
    "--lr": REAL.map(lambda x: [x]),
    "--scale": REAL.map(lambda x: [x]),
    "--epochs": INTEGER.map(lambda x: [x]),
    "--flag": st.just([]),
    "--off": st.just([]),
    "--maybe": st.just([]),
    "--no-maybe": st.just([]),
    "--mode": st.just([]),
    "--fast": st.just([]),
    "--slow": st.just([]),
    "-vv": st.just([]),
    "--tag": TEXT.map(lambda x: [x]),
    "--size": st.lists(INTEGER, min_size=2, max_size=2),
    "--more": st.lists(REAL, min_size=1, max_size=3),
    "--part": st.just([]),
    "--other-part": st.just([]),
    "--many": st.lists(INTEGER, max_size=3),
    "--some": st.lists(TEXT, min_size=1, max_size=3),
    "--three": st.lists(REAL, min_size=3, max_size=3),
    "--log": st.lists(TEXT, max_size=1),
    "--level": st.lists(INTEGER, max_size=1),
    "--pick": st.sampled_from([["1"], ["2"], ["3"]]),
    "--word": st.lists(st.sampled_from("ab"), max_size=3),
    "--color": st.sampled_from([["r"], ["b"]]),
    "--path": TEXT.map(lambda x: [x]),
    "--paths": st.lists(TEXT, max_size=3),
    "--day": st.dates().map(lambda day: [day.isoformat()]),
    "--pair": st.tuples(INTEGER, INTEGER).map(lambda xy: ["x".join(xy)]),
    "--config": st.dictionaries(TEXT, st.integers() | st.none()).map(lambda x: [json.dumps(x)]),
    "--truth": st.sampled_from([["True"], ["False"]]),
    "--hidden": TEXT.map(lambda x: [x]),
    "--complex": st.sampled_from([["1+2j"], ["3"]]),
}
WIDE_ARGV = st.lists(
    st.sampled_from(sorted(WIDE_OPTIONS)).flatmap(lambda name: WIDE_OPTIONS[name].map(lambda rest: [name, *rest]))
).map(lambda groups: ["--needed", "7", *(token for group in groups for token in group)])


def typed(value: object) -> object:
    """Return ``value`` in a form that compares equal only with equal types, and NaN equal to NaN."""
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [typed(item) for item in value]
    return type(value).__name__, repr(value)


@settings(deadline=None)
@given(WIDE_ARGV)
def test_stored_values_give_the_same_namespace(argv: list[str]) -> None:
    """Parse, store as JSON, override, parse nothing: the namespace is the same, types included."""
    first, second, again = rerun(build_wide, argv)
    expected = vars(first)
    if isinstance(expected["pair"], tuple) and expected["pair"] != (3, 4):
        expected["pair"] = list(expected["pair"])  # a tuple of numbers is stored as the JSON list it looks like
    assert typed(vars(second)) == typed(expected)
    assert set(again.values) == set(expected)


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


TREE_ARGV = st.one_of(
    st.tuples(
        INTEGER.map(lambda x: ["--extra", x]) | st.just([]),
        st.sampled_from(["train", "t"]),
        REAL.map(lambda x: ["--lr", x]) | st.just([]),
        TEXT.filter(lambda text: text not in ("sgd", "adam")),
        REAL.map(lambda x: ["sgd", "--momentum", x]) | st.just(["adam"]) | st.just([]),
    ).map(lambda t: ["/r", *t[0], t[1], *t[2], t[3], *t[4]]),
    st.tuples(INTEGER, st.lists(TEXT, max_size=2)).map(lambda t: ["--seed", t[0], "r", "test", *t[1]]),
)


@settings(deadline=None)
@given(TREE_ARGV)
def test_sub_commands_run_again(argv: list[str]) -> None:
    """The stored command is chosen, in each layer, with its arguments and its set_defaults."""
    first, second, _ = rerun(build_tree, argv)
    assert typed(vars(second)) == typed(vars(first))


def test_all_sub_parsers_are_recorded() -> None:
    """The chosen command's values count; the others are there with their defaults."""
    with watching() as seen:
        build_tree().parse_args(["/r", "train", "d", "sgd", "--momentum", "0.1"])
    (parsed,) = seen
    assert parsed.values == {
        "root": "/r",
        "extra": 4,
        "seed": 0,
        "cmd": "train",
        "data": "d",
        "lr": 0.5,
        "subcommand": "sgd",
        "momentum": 0.1,
        "beta": 0.9,
        "files": None,
    }
    assert parsed.types["momentum"] == "float"
    assert parsed.prog == "tree"


def test_the_stored_command_can_be_changed() -> None:
    """An edited sub-command runs the other branch, with what it finds stored."""
    _, second, again = rerun(build_tree, ["r", "test"], cmd="train", data="x", lr=0.25)
    assert (second.cmd, second.data, second.lr, second.function) == ("train", "x", 0.25, build_wide)
    assert {"data", "lr"} <= set(again.overridden)
    with watching({"cmd": "train", "data": "x"}):
        kept = build_tree().parse_args(["r", "test", "--lr", "3"])
    assert (kept.cmd, kept.data, kept.root) == ("train", "x", Path("r"))


def test_types_and_help_are_recorded() -> None:
    """The declared type and the expanded help go with each value; help and version are no values."""
    with watching() as seen:
        build_wide().parse_args(["--needed", "1"])
    (parsed,) = seen
    assert {key: parsed.types[key] for key in ("lr", "flag", "name", "path", "verbose", "many")} == {
        "lr": "float",
        "flag": "bool",
        "name": "str",
        "path": "Path",
        "verbose": "int",
        "many": "int",
    }
    assert parsed.help["title"] == "the café title"
    assert parsed.help["lr"] == ""
    assert not {"help", "version", "hidden"} & set(parsed.values)
    assert (parsed.values["color"], parsed.values["mode"], parsed.values["path"]) == ("r", "BLUE", "data")


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("lr", "0.25", 0.25),
        ("lr", 2, 2.0),
        ("epochs", "7", 7),
        ("epochs", 7.0, 7),
        ("flag", "true", True),
        ("on", "False", False),
        ("maybe", "no", False),
        ("truth", "False", False),
        ("verbose", "2", 2),
        ("many", "[4, 5]", [4, 5]),
        ("many", "4 5", [4, 5]),
        ("some", "['a', 'b c']", ["a", "b c"]),
        ("some", "a 'b c'", ["a", "b c"]),
        ("size", [["1", "2"]], [[1, 2]]),
        ("speed", "slow", "slow"),
        ("mode", "RED", Color.RED),
        ("color", "b", Color.BLUE),
        ("path", "x/y", Path("x/y")),
        ("level", "5", 5),
        ("complex", "", None),
        ("name", None, None),
        ("name", "", ""),
        ("parts", "[2, 1]", [2, 1]),
        ("pair", "5x6", (5, 6)),
    ],
)
def test_edited_texts_take_the_type_of_the_argument(key: str, text: object, expected: object) -> None:
    """What somebody typed becomes what the command line would have made of it."""
    _, second, again = rerun(build_wide, ["--needed", "1"], **{key: text})
    assert typed(getattr(second, key)) == typed(expected)
    assert set(again.overridden) <= {key, "needed"}


@pytest.mark.parametrize(
    ("key", "text"),
    [("lr", "abc"), ("pick", 9), ("pick", "9"), ("color", "green"), ("flag", "perhaps"), ("word", ["c"])],
)
def test_an_impossible_stored_value_is_an_error_of_the_parser(
    key: str, text: object, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run stops with argparse's own message rather than use a value that nobody asked for."""
    with watching({"needed": 1, key: text}), pytest.raises(SystemExit) as caught:
        build_wide().parse_args([])
    assert caught.value.code == 2
    assert "argument --" in capsys.readouterr().err


def test_without_exit_on_error_the_error_is_raised() -> None:
    """A parser that must not exit raises ArgumentError, as it does for its own arguments."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--n", type=positive)
    with watching({"n": "-1"}), pytest.raises(argparse.ArgumentError, match="not positive"):
        parser.parse_args([])
    with watching(), pytest.raises(argparse.ArgumentError):
        parser.parse_args(["--n", "x"])


def test_required_groups_and_positionals_are_satisfied_by_stored_values() -> None:
    """Nothing that is stored must be given again; what is not stored still must."""

    def build() -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser()
        group = parser.add_mutually_exclusive_group(required=True)
        group.add_argument("--a", type=int)
        group.add_argument("--b", action="store_true")
        parser.add_argument("source")
        parser.add_argument("rest", nargs="+", type=int)
        return parser

    first, second, _ = rerun(build, ["--a", "1", "src", "1", "2"])
    assert second == first
    parser = build()
    with watching({"source": "s", "rest": [1]}), pytest.raises(SystemExit):
        parser.parse_args([])
    with pytest.raises(SystemExit):
        parser.parse_args([])
    assert [action.required for action in parser._actions] == [False, False, False, True, True]
    assert parser._actions[-1].nargs == "+"


@pytest.mark.parametrize("argv", [[], ["x"], ["x", "1", "2"]])
def test_optional_positionals_keep_their_defaults(argv: list[str]) -> None:
    """Positionals that may be absent come back as they were, given or not."""

    def build() -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser()
        parser.add_argument("place", nargs="?", type=Path, default=Path("here"))
        parser.add_argument("numbers", nargs="*", type=int)
        return parser

    first, second, again = rerun(build, argv)
    assert typed(vars(second)) == typed(vars(first))
    if not argv:
        assert again.overridden == ()


def test_the_command_line_loses_to_what_is_stored_and_unknown_rest_stays() -> None:
    """Stored values win; unknown arguments come back as they were given."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--keep", default="k")
    with watching({"lr": 0.5, "stranger": 1}) as seen:
        namespace, rest = parser.parse_known_args(["--lr", "0.2", "--keep", "x", "--unknown", "1"])
    assert (namespace.lr, namespace.keep, rest) == (0.5, "x", ["--unknown", "1"])
    assert seen[0].overridden == ("lr",)
    assert "stranger" not in vars(namespace)
    assert parser.parse_args([]).lr == 0.1


def test_excluded_arguments_are_neither_recorded_nor_changed() -> None:
    """A destination that the user excludes stays between the user and the parser."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--public", type=int, default=1)
    parser.add_argument("--secret", default="s")
    with watching({"secret": "stored", "public": 5}, lambda dest: dest != "secret") as seen:
        namespace = parser.parse_args([])
    assert vars(namespace) == {"public": 5, "secret": "s"}
    assert seen[0].values == {"public": 5}


def test_each_parse_is_reported_once_with_the_users_objects() -> None:
    """Sub-parsers, own namespaces, intermixed parses and parsers within types report one parse each."""

    def nested(text: str) -> str:
        other = argparse.ArgumentParser()
        other.add_argument("--inner")
        return str(other.parse_args(["--inner", text]).inner)

    parser = argparse.ArgumentParser()
    parser.add_argument("--outer", type=nested)
    parser.add_argument("files", nargs="*")
    mine = argparse.Namespace(own=1)
    with watching() as seen:
        result = parser.parse_args(["--outer", "x"], mine)
        assert result is mine
        assert parser.parse_intermixed_args(["a", "--outer", "y", "b"]).files == ["a", "b"]
        build_tree().parse_args(["r", "test"])
    assert [parsed.prog for parsed in seen] == [parser.prog, parser.prog, "tree"]
    assert seen[0].values == {"outer": "x", "files": []}
    assert seen[0].namespace is mine
    with watching({"outer": "z", "files": ["c"]}):
        assert vars(parser.parse_intermixed_args([])) == {"outer": "z", "files": ["c"]}


def test_a_failing_parse_is_not_reported() -> None:
    """An error or --help ends the parse as ever, and the next one is watched again."""
    with watching() as seen, contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        for argv in (["--nonsense"], ["--help"]):
            with pytest.raises(SystemExit):
                build_tree().parse_args(argv)
        build_tree().parse_args(["r", "test"])
    assert len(seen) == 1


def test_problems_of_the_hook_stay_in_the_hook() -> None:
    """A recorder that raises, or a parser of an odd make, costs the record and not the parse."""

    class Odd(argparse.ArgumentParser):
        @property
        def _mutually_exclusive_groups(self) -> Any:
            if getattr(self, "is_broken", False):
                raise RuntimeError("odd")
            return self.__dict__.setdefault("groups", [])

        @_mutually_exclusive_groups.setter
        def _mutually_exclusive_groups(self, value: Any) -> None:
            self.__dict__["groups"] = value

    def fail(parsed: ParsedArguments) -> None:
        raise ValueError("recorder")

    hook = ArgparseHook(fail, {"n": 5, "extra": 1})
    hook.install()
    hook.install()
    try:
        parser = argparse.ArgumentParser()
        parser.add_argument("--n", type=int)
        assert parser.parse_args(["--n", "1"]).n == 5
        odd = Odd()
        odd.add_argument("n", type=int)
        vars(odd)["is_broken"] = True
        with contextlib.suppress(RuntimeError):
            odd.parse_args(["1"])
        assert odd._actions[-1].required
    finally:
        hook.uninstall()
    assert any("recorder" in error for error in hook.errors)
    assert any("odd" in error for error in hook.errors)


def test_uninstalling_under_another_patch_turns_into_a_pass_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where somebody patched on top, the hook goes quiet and the other patch stays."""
    seen: list[ParsedArguments] = []
    hook = ArgparseHook(seen.append)
    original = argparse.ArgumentParser.parse_known_args
    hook.install()
    ours = argparse.ArgumentParser.parse_known_args

    def theirs(parser: Any, args: Any = None, namespace: Any = None) -> Any:
        return ours(parser, args, namespace)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", theirs)
    hook.uninstall()
    build_wide().parse_args(["--needed", "1"])
    assert seen == []
    monkeypatch.undo()
    hook.uninstall()
    assert argparse.ArgumentParser.parse_known_args is original


def test_threads_parse_at_the_same_time() -> None:
    """Parses of one parser in several threads do not mix."""
    parser = build_tree()
    results: list[tuple[str, ...]] = []

    def work(number: int) -> None:
        for _ in range(20):
            namespace = parser.parse_args([])
            results.append((namespace.cmd, namespace.data, str(namespace.root)))

    with watching({"cmd": "train", "data": "d", "root": "r", "extra": 1, "lr": 0.1}) as seen:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert set(results) == {("train", "d", "r")}
    assert len(results) == len(seen) == 80


def test_files_are_stored_by_name(tmp_path: Path) -> None:
    """An opened file is recorded by its path, a standard stream by a dash, and both open again."""
    path = tmp_path / "in.txt"
    path.write_text("hello")

    def build() -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser()
        for name, default in (("--source", None), ("--sink", sys.stdout)):
            action = parser.add_argument(name, default=default)
            action.type = open if name == "--source" else None
        return parser

    with watching() as seen:
        first = build().parse_args(["--source", str(path)])
    first.source.close()
    assert seen[0].values == {"source": str(path), "sink": "-"}
    with watching(seen[0].values):
        second = build().parse_args([])
    with second.source:
        assert second.source.read() == "hello"
    assert second.sink is sys.stdout


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
