"""``localtrack doctor``: what the store's file system can do, what state the store is in, and what follows.

Source: docs/reference/cli.md, "doctor".
"""

from __future__ import annotations

import click

from localtrack.cli.output import coloured, print_json, printable, text_width
from localtrack.cli.shell import Shell, json_option, note, pass_shell, root_option

MARKS = {"good": ("ok", "32"), "note": ("note", "33"), "bad": ("WRONG", "31")}
FIELDS = ("name", "level", "found", "consequence")


@click.command("doctor")
@json_option
@root_option
@pass_shell
def doctor(shell: Shell, as_json: bool) -> None:
    """Check the store and its file system, and say what follows. Exit code 1 when something is wrong."""
    from localtrack.services.health import examine, has_failed

    ctx = shell.ctx
    findings = examine(ctx)
    wrong = has_failed(findings)
    if as_json:
        checks = [{field: getattr(finding, field) for field in FIELDS} for finding in findings]
        print_json({"root": str(ctx.store.root), "found_by": ctx.found_by, "is_good": not wrong, "checks": checks})
    else:
        print(f"{ctx.store.root} (found by {ctx.found_by})")
        width = max(text_width(finding.name) for finding in findings)
        for finding in findings:
            mark, colour = MARKS.get(finding.level, (finding.level, "0"))
            follows = f": {printable(finding.consequence)}" if finding.consequence else ""
            print(f"{coloured(f'{mark:<5}', colour)}  {finding.name:<{width}}  {printable(finding.found)}{follows}")
        note("something is wrong" if wrong else "all is well")
    if wrong:
        raise click.exceptions.Exit(1)
