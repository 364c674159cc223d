"""The root command: verbs loaded when they are called, errors as one line, exit codes 0, 1 and 2.

Source: docs/reference/cli.md, "Exit codes".
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from localtrack.cli.registry import SECTIONS, VERBS
from localtrack.cli.shell import CONTEXT_SETTINGS, Shell, json_option, root_option

FAILED = 1
INTERRUPTED = 130


class LazyGroup(click.Group):
    """A group that imports a verb's module only when that verb is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order of the registry."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a verb; None for an unknown one."""
        verb = VERBS.get(cmd_name)
        if verb is None:
            return None
        module, _, attribute = verb.target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb; a mistyped one gets the nearest name."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], VERBS, n=1)
            hint = f": did you mean {near[0]!r}?" if near else "; `localtrack --help` lists the verbs"
            raise click.UsageError(f"no verb {args[0]!r}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; a reader of the output that goes away early (``| head``) ends it without a word."""
        try:
            value = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            _silence_pipe()
            raise click.exceptions.Exit(0) from None
        return value

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs by section, from their static help."""
        for section in SECTIONS:
            rows = [(name, verb.help) for name, verb in VERBS.items() if verb.section == section]
            with formatter.section(section):
                formatter.write_dl(rows)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line and leave with its exit code.

        Args:
            args: arguments; those of the process when None.
            prog_name: name in messages.
            complete_var: environment variable by which a shell asks for completions.
            standalone_mode: False returns the value and lets errors through.
            **extra: passed on to click.
        """
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        _make_streams_safe()
        try:
            code = super().main(args, prog_name or "localtrack", complete_var, standalone_mode=False, **extra)
        except click.ClickException as error:
            error.show()
            code = error.exit_code
        except (click.Abort, KeyboardInterrupt):
            print("localtrack: interrupted", file=sys.stderr)
            code = INTERRUPTED
        except OSError as error:  # StoreError is one, too
            code = _fail(_os_text(error))
        except Exception as error:
            from localtrack.errors import LocaltrackError

            if not isinstance(error, LocaltrackError):
                raise
            code = _fail(str(error))
        sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str) -> int:
    print(f"localtrack: {message}", file=sys.stderr)
    return FAILED


def _os_text(error: OSError) -> str:
    from localtrack.errors import LocaltrackError

    if isinstance(error, LocaltrackError):
        return str(error)
    where = f" {error.filename}:" if error.filename else ""
    return f"file system:{where} {error.strerror or error}; `localtrack doctor` looks at the store"


def _make_streams_safe() -> None:
    """Let no name, whatever it holds, end in an encoding error."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _silence_pipe() -> None:
    """The reader has gone: let Python's own last flush write to nowhere."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        pass


def _print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from localtrack import __version__

        print(f"localtrack {__version__}")
        ctx.exit()


@click.group(cls=LazyGroup, invoke_without_command=True, context_settings=CONTEXT_SETTINGS, name="localtrack")
@root_option
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
@json_option
@click.pass_context
def main(ctx: click.Context, as_json: bool) -> None:
    """Track experiments in a folder: no server, no daemon, no database.

    Without a verb, a summary of the store in force is printed. A task is given by its id or the beginning of it, by
    @last (the newest one) or @-2 (the one before), or by project/name.
    """
    ctx.ensure_object(Shell)
    if ctx.invoked_subcommand is None:
        from localtrack.cli.summary import print_summary

        print_summary(ctx.ensure_object(Shell), as_json)
    elif as_json:
        raise click.UsageError(f"--json belongs behind the verb: localtrack {ctx.invoked_subcommand} ... --json", ctx)
