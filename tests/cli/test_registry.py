"""Every verb: its target, its heading in the documentation, its options, its help."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from localtrack.cli.registry import SECTIONS, VERBS

HERE = Path(__file__).parent
REFERENCE = HERE.parents[1] / "docs" / "reference" / "cli.md"
SNAPSHOT = HERE / "help.txt"
EVERYWHERE = {"--root", "--help"}


def load(name: str) -> click.Command:
    """Import a verb."""
    module, _, attribute = VERBS[name].target.partition(":")
    command = getattr(importlib.import_module(module), attribute)
    assert isinstance(command, click.Command)
    return command


def commands(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """Yield a verb and the verbs below it."""
    yield name, command
    if isinstance(command, click.Group):
        for child, below in sorted(command.commands.items()):
            yield from commands(f"{name} {child}", below)


def section_of(name: str) -> str:
    """Return a verb's section of the reference."""
    match = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", REFERENCE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert match is not None, f"docs/reference/cli.md has no heading for {name}"
    return match[1]


def render(name: str, command: click.Command) -> str:
    """Return a command's help in a form that is the same in every version of click."""
    lines = [f"{name}: {' '.join((command.help or '').split())}"]
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            lines.append(f"  {'/'.join([*parameter.opts, *parameter.secondary_opts])}: {parameter.help}")
        else:
            lines.append(f"  {parameter.metavar or parameter.human_readable_name}")
    return "\n".join(lines)


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_loads_and_says_what_it_does(name):
    """Each target exists, has the registry's name and section, and a help text of its own."""
    command = load(name)
    assert command.name == name
    assert command.help
    assert VERBS[name].section in SECTIONS


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_has_its_heading_and_all_options_in_it(name):
    """The reference has a heading for each verb, and names each of its options there."""
    text = section_of(name)
    for _, command in commands(name, load(name)):
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                for option in (*parameter.opts, *parameter.secondary_opts):
                    assert option in EVERYWHERE or re.search(rf"(?<![\w-]){option}(?![\w-])", text), f"{name}: {option}"


def test_the_reference_has_no_heading_for_what_is_not_there():
    """Every second-level heading of the reference is a verb, or one of the general ones."""
    headings = set(re.findall(r"^## (.+)$", REFERENCE.read_text(encoding="utf-8"), re.MULTILINE))
    assert headings - set(VERBS) == {"Naming a task", "Output", "Exit codes"}


@pytest.mark.parametrize("name", VERBS)
def test_verbs_that_print_data_speak_json(name):
    """Every verb takes --json, except the groups, and the one whose output is a shell's program."""
    others = {"completion", "agent", "queue", "index", "model"}
    for path, command in commands(name, load(name)):
        options = {option for parameter in command.params for option in parameter.opts}
        assert ("--json" in options) is (path not in others), path


def test_help_is_as_it_was():
    """The help of all verbs equals the snapshot; UPDATE_SNAPSHOTS=1 writes it anew, for review in the diff."""
    parts = [render(path, command) for name in VERBS for path, command in commands(name, load(name))]
    text = "\n".join(parts) + "\n"
    if os.environ.get("UPDATE_SNAPSHOTS") == "1":
        SNAPSHOT.write_text(text, encoding="utf-8")
    assert SNAPSHOT.read_text(encoding="utf-8") == text
