"""Verbs about the store itself: init, index, completion.

Source: docs/reference/cli.md, "init", "index", "completion".
"""

from __future__ import annotations

from pathlib import Path

import click

from localtrack.cli.output import print_json
from localtrack.cli.shell import Shell, json_option, note, pass_shell, root_option

COMPLETE_VARIABLE = "_LOCALTRACK_COMPLETE"


@click.command("init")
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option("--shared", is_flag=True, help="For a team: files and folders the group can write, whatever the umask.")
@json_option
@root_option
@pass_shell
def init(shell: Shell, path: Path | None, shared: bool, as_json: bool) -> None:
    """Make a store at PATH; without one, in .localtrack here, where everything below this folder finds it.

    A store that is there already is left as it is.
    """
    from localtrack.config import MARKER_FOLDER
    from localtrack.store.root import Store

    folder = path.expanduser() if path else Path(shell.root).expanduser() if shell.root else Path(MARKER_FOLDER)
    root = folder.absolute()
    existed = (root / "store.json").exists()
    store = Store.open(root) if existed else Store.create(root, shared=shared)
    is_shared = bool(store.manifest.sharing)
    if as_json:
        print_json({"root": str(root), "id": store.manifest.store_id, "created": not existed, "shared": is_shared})
        return
    print(root)
    note(f"{'a store was here already' if existed else 'made a store'}{', shared with its group' * is_shared}")
    if existed and shared and not is_shared:
        note("it is not shared: make a new one with --shared and move the projects there")
    if root.name != MARKER_FOLDER:
        note(f"use it with `export LOCALTRACK_ROOT={root}`, --root, or `root = ...` in a localtrack.toml")


@click.group("index")
def index() -> None:
    """Rebuild or check the search index. It is derived: deleting it loses nothing."""


@index.command("rebuild")
@json_option
@root_option
@pass_shell
def rebuild(shell: Shell, as_json: bool) -> None:
    """Make the index anew from the task folders."""
    shell.ctx.index.rebuild()
    count = len(shell.ctx.index.rows())
    if as_json:
        print_json({"tasks": count})
    else:
        note(f"indexed {count} task{'s' * (count != 1)}")


@index.command("check")
@json_option
@root_option
@pass_shell
def check(shell: Shell, as_json: bool) -> None:
    """Compare the index with the task folders, and list files that can't be read. Exit code 1 when there are any."""
    problems = [str(problem) for problem in shell.ctx.index.check()]
    if as_json:
        print_json({"problems": problems})
    elif problems:
        for problem in problems:
            print(problem)
    else:
        note("the index agrees with the task folders")
    if problems:
        raise click.exceptions.Exit(1)


@click.command("completion")
@click.argument("shell_name", metavar="bash|zsh|fish", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell_name: str) -> None:
    """Print the completion script of a shell.

    bash: eval "$(localtrack completion bash)" in ~/.bashrc.  zsh: the same with zsh in ~/.zshrc.
    fish: localtrack completion fish > ~/.config/fish/completions/localtrack.fish
    """
    from click.shell_completion import get_completion_class

    from localtrack.cli.app import main

    kind = get_completion_class(shell_name)
    if kind is None:
        raise click.UsageError(f"no completion for {shell_name}")
    print(kind(main, {}, "localtrack", COMPLETE_VARIABLE).source())
