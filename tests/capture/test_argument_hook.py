"""The hook in argparse: each parse once, its own problems never the script's."""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from localtrack.capture.arguments import ArgparseHook, ParsedArguments

from .parsers import Color, build_tree, build_wide, watching


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


def test_no_function_of_the_users_runs_once_more() -> None:
    """A type may print or open files: it is called where the parser calls it, also when stored values are fed."""
    calls: list[str] = []

    class Target:
        def __init__(self, text: str) -> None:
            calls.append(text)
            self.text = text

        def __str__(self) -> str:
            return self.text

    def make(text: str) -> Target:
        return Target(text)

    def build() -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser()
        parser.add_argument("--out", type=make, default=code)
        parser.add_argument("--text", type=make, default="given")
        parser.add_argument("--mode", type=lambda text: calls.append(text) or Color(text), default=Color.RED)  # type: ignore[func-returns-value]
        commands = parser.add_subparsers(dest="command")
        commands.add_parser("other").add_argument("--unused", type=make, default=code)
        return parser

    code = Target("code")
    calls.clear()
    with watching() as seen:
        build().parse_args(["--mode", "b"])
        build().parse_args([])
    parsed, plain = seen
    assert calls == ["b", "given", "given"]
    assert parsed.values == {"out": "code", "text": "given", "mode": "b", "command": None, "unused": "code"}
    assert plain.values["mode"] == "RED"
    calls.clear()
    with watching(parsed.values):
        found = build().parse_args(["--mode", "b"])
    assert (found.out, calls) == (code, ["b", "given"])
    with watching({"mode": "BLUE"}):
        assert build().parse_args([]).mode is Color.BLUE
