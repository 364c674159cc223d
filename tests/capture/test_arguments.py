"""Arguments are recorded with their types, and stored ones reach the script's parser."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localtrack.records.parameters import entry, parse_override, value_of

from .parsers import Color, build_tree, build_wide, pair, positive, rerun, watching

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
    assert typed(vars(second)) == typed(vars(first))
    assert set(again.values) == set(vars(first))


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
        ("pair", [5, 6], (5, 6)),
        ("name", 5, "5"),
        ("name", True, "True"),
        ("some", [1, 2], ["1", "2"]),
        ("some", "[1, 2]", ["1", "2"]),
        ("many", "4", [4]),
    ],
)
def test_edited_texts_take_the_type_of_the_argument(key: str, text: object, expected: object) -> None:
    """What somebody typed becomes what the command line would have made of it."""
    _, second, again = rerun(build_wide, ["--needed", "1"], **{key: text})
    assert typed(getattr(second, key)) == typed(expected)
    assert set(again.overridden) <= {key, "needed"}


def test_what_is_typed_for_an_argument_is_what_the_command_line_gives() -> None:
    """Text where the argument is one though it has no default, and what the argument's own function makes of it."""

    def build() -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser()
        parser.add_argument("--gpu", type=str)
        parser.add_argument("--name")
        parser.add_argument("--lr", type=float)
        parser.add_argument("--tags", nargs="+")
        parser.add_argument("--words", nargs="*", default=["a"])
        parser.add_argument("--width", default=4)
        parser.add_argument("--limit", type=lambda text: text if text == "all" else int(text), default=10)
        parser.add_argument("--sets", type=lambda text: text.split(","), default=["coco"])
        parser.add_argument("--size", type=pair, default=(2, 2))
        parser.add_argument("--layers", type=int, nargs="+", default=[1, 2])
        return parser

    texts = {
        "gpu": "0", "name": "true", "lr": "0.5", "tags": "[1, 2]", "words": "b c", "width": "8", "limit": "all",
        "sets": "coco,lvis", "size": "3x4", "layers": "4 5 6",
    }  # fmt: skip
    with watching() as seen:
        build().parse_args([])
    (parsed,) = seen
    stored = {
        name: value_of(entry(parse_override(text, entry(parsed.values[name], "", parsed.types[name]), f"Args/{name}")))
        for name, text in texts.items()
    }
    assert stored["lr"] == 0.5
    with watching(stored):
        found = build().parse_args([])
    expected = {
        "gpu": "0", "name": "true", "lr": 0.5, "tags": ["1", "2"], "words": ["b", "c"], "width": 8, "limit": "all",
        "sets": ["coco", "lvis"], "size": (3, 4), "layers": [4, 5, 6],
    }  # fmt: skip
    assert typed(vars(found)) == typed(expected)


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


def test_files_of_arguments_may_be_missing(tmp_path: Path) -> None:
    """A clone has every value that a file gave, and does without it; one that is here is read, and loses to what is stored."""

    def build() -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser(fromfile_prefix_chars="@")
        parser.add_argument("--lr", type=float, default=0.1)
        parser.add_argument("--n", type=int)
        parser.add_argument("command")
        parser.add_argument("rest", nargs="*", type=int)
        return parser

    file, value = tmp_path / "args.txt", tmp_path / "value.txt"
    file.write_text("--lr\n0.4\n")
    value.write_text("3")
    argv = ["run", f"@{file}", "--n", f"@{value}"]
    with watching() as seen:
        first = build().parse_args(argv)
    (parsed,) = seen
    assert (first.lr, first.n) == (0.4, 3)
    for changed in ({}, {"lr": 0.7}):
        with watching({**parsed.values, **changed}):
            found = build().parse_args(argv)
            assert vars(found) == {**vars(first), **changed}
            file.unlink(missing_ok=True)
            value.unlink(missing_ok=True)
            assert vars(build().parse_args(argv)) == {**vars(first), **changed}
            assert vars(build().parse_intermixed_args(argv)) == {**vars(first), **changed}
    with watching(), pytest.raises(SystemExit):
        build().parse_args(argv)


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
