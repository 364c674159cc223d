"""Parse, store, override, parse again: whatever the value, the script gets the override."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from localtrack.bindings.parameter_feed import ParameterFeed
from localtrack.capture.native_values import is_same
from localtrack.records.parameters import entry, value_of
from localtrack.runtime import early_bindings
from localtrack.runtime.binding_context import BindingContext

pytest.importorskip("hydra")


@pytest.fixture(autouse=True)
def before_a_run() -> None:
    """What is parsed waits for a run."""
    early_bindings.prepare_early_bindings([])()


SETTINGS = settings(max_examples=150, deadline=None)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), max_size=12)
KEY = st.from_regex(r"k[a-z0-9_ ,:=(){}\[\]\\]{0,5}k", fullmatch=True)
NUMBER = st.integers(-(10**12), 10**12) | st.floats(allow_nan=False, allow_infinity=False)
TYPED: dict[type, st.SearchStrategy[Any]] = {
    int: st.integers(-(10**9), 10**9), float: st.floats(allow_nan=False, allow_infinity=False), str: TEXT, bool: st.booleans(),
}  # fmt: skip


def context(binding: str, module: str) -> BindingContext:
    """Return the hold of a binding on a module, in which nothing may fail."""

    def failed(name: str, place: str, error: Exception) -> None:
        pytest.fail(f"{name}, {place}: {error!r}")

    return BindingContext(binding, importlib.import_module(module), remote=True, failed=failed, find=lambda: None)


def feed(section: str, stored: dict[str, Any]) -> ParameterFeed:
    """Return a feed that says nothing."""
    result = ParameterFeed(section, {name: value_of(entry(value)) for name, value in stored.items()}, remote=True)
    result._said.update(stored)
    early_bindings.forget()
    return result


def recorded(name: str) -> Any:
    """Return what was recorded of a parameter."""
    found = [entries[name] for entries in early_bindings._entries.values() if name in entries]
    return value_of(found[0])


@SETTINGS
@given(
    NUMBER
    | TEXT
    | st.booleans()
    | st.none()
    | st.lists(NUMBER | TEXT, max_size=3)
    | st.dictionaries(TEXT, NUMBER, max_size=3)
)
def test_fire(value: Any) -> None:
    """Fire: any JSON value, in the place of whatever was on the command line."""
    import fire

    from localtrack.bindings.fire import FireHook

    hold = context("fire", "fire.core")
    got: list[Any] = []
    FireHook(feed("Args", {"value": value}), hold).install()
    try:
        fire.Fire(lambda value: got.append(value), command=["7"])
    finally:
        hold.patch.undo()
    assert is_same(got[0], value)
    assert is_same(recorded("Args/value"), value)


@SETTINGS
@given(st.data())
def test_jsonargparse(data: st.DataObject) -> None:
    """jsonargparse: a value of the declared type."""
    from jsonargparse import ArgumentParser

    from localtrack.bindings.jsonargparse import JsonargparseHook

    kind = data.draw(st.sampled_from([*TYPED, list[int], dict[str, float]]))
    strategies = {
        list[int]: st.lists(TYPED[int], max_size=3),
        dict[str, float]: st.dictionaries(TEXT, TYPED[float], max_size=3),
    }
    value = data.draw({**TYPED, **strategies}[kind])
    hold = context("jsonargparse", "jsonargparse._core")
    JsonargparseHook(feed("Args", {"a.value": value}), hold).install()
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--a.value", type=kind, required=True)
    try:
        got = parser.parse_args([]).a.value
    finally:
        hold.patch.undo()
    assert is_same(got, value)
    assert is_same(recorded("Args/a.value"), value)


@SETTINGS
@given(st.data())
def test_absl(data: st.DataObject) -> None:
    """absl: a value of the flag's type."""
    from absl import flags

    from localtrack.bindings.absl import AbslHook

    define, strategy = data.draw(st.sampled_from([
        (flags.DEFINE_integer, TYPED[int]), (flags.DEFINE_float, TYPED[float]), (flags.DEFINE_string, TEXT),
        (flags.DEFINE_bool, TYPED[bool]), (flags.DEFINE_list, st.lists(TEXT, max_size=3)),
        (flags.DEFINE_multi_integer, st.lists(TYPED[int], min_size=1, max_size=3)),
    ]))  # fmt: skip
    value = data.draw(strategy)
    values = flags.FlagValues()
    define("value", None, "", flag_values=values, required=True)
    hold = context("absl", "absl.flags._flagvalues")
    AbslHook(feed("TF_DEFINE", {"value": value}), hold).install()
    try:
        values(["program"])
    finally:
        hold.patch.undo()
    assert is_same(values.value, value)
    assert is_same(recorded("TF_DEFINE/value"), value)


@SETTINGS
@given(NUMBER | st.booleans() | st.none() | st.lists(NUMBER | TEXT | st.none(), max_size=3)
       | st.dictionaries(KEY, NUMBER | TEXT, max_size=3))  # fmt: skip
def test_hydra_values(value: Any) -> None:
    """Hydra: any JSON value but a text is written so that Hydra, and we, read the same."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf

    from localtrack.bindings.hydra_overrides import read_overrides, write_override

    text = write_override("a.b", value, None)
    assert text.startswith("++a.b=")
    read = OverridesParser.create().parse_override(text).value()
    read = OmegaConf.to_container(OmegaConf.create(read), resolve=False) if isinstance(read, (list, dict)) else read
    assume("${" not in str(value) and "???" not in str(value))
    assert is_same(_plain(read), value)
    assert is_same(read_overrides([text])["a.b"], value)


def _plain(value: Any) -> Any:
    """Return strings in quotes as texts."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)


@SETTINGS
@given(TEXT)
def test_hydra_texts(text: str) -> None:
    """Hydra: a text that was written on a command line is stored and written again to mean the same."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from localtrack.bindings.hydra_overrides import read_overrides, write_override

    parser = OverridesParser.create()
    written = f"a={text}"
    try:
        first = parser.parse_override(written)
    except Exception:  # no legal override: a stored text that is none is put into quotes
        assert str(parser.parse_override(write_override("a", text, None)).value()) == text
        return
    assume(not first.is_sweep_override())
    again = parser.parse_override(write_override("a", read_overrides([written])["a"], None))
    assert str(again.value()) == str(first.value())
    assert type(again.value()) is type(first.value()) or str(first.value()) == text
