"""The summary of a store on one screen, which ``localtrack`` alone prints.

Source: docs/reference/cli.md, "Without a verb".
"""

from __future__ import annotations

import shutil
from collections import Counter
from typing import Any

from localtrack.cli.listing import DEFAULT_COLUMNS, column, filled, print_rows, row_json, sorted_rows
from localtrack.cli.output import heading, print_json, print_pairs, printable, size_text
from localtrack.cli.shell import Shell, note

RECENT = 5


def print_summary(shell: Shell, as_json: bool = False) -> None:
    """Print the store in force: where it is, tasks by status, the newest ones, queues."""
    from localtrack.services.search import seen_rows

    ctx = shell.ctx
    rows = seen_rows(ctx, ctx.index.rows())
    newest = sorted_rows([row for row in rows if "archived" not in row.system_tags], "-updated")[:RECENT]
    counts = dict(Counter(row.status for row in rows).most_common())
    waiting = {name: ctx.queues.get(name).count() for name in ctx.queues.names()}
    usage = shutil.disk_usage(ctx.store.root)
    if as_json:
        body: dict[str, Any] = {
            "root": str(ctx.store.root), "found_by": ctx.found_by, "tasks": len(rows), "by_status": counts,
            "queues": [{"name": name, "waiting": count} for name, count in waiting.items()],
            "disk": {"free_bytes": usage.free, "total_bytes": usage.total},
            "last_changed": [row_json(row) for row in newest],
        }  # fmt: skip
        print_json(body)
        return
    by_status = ", ".join(f"{count} {status}" for status, count in counts.items())
    print_pairs(
        [
            ("store", f"{ctx.store.root} (found by {ctx.found_by})"),
            ("tasks", f"{len(rows)} ({by_status})" if rows else "none"),
            ("queues", ", ".join(f"{printable(name)}: {count} waiting" for name, count in waiting.items()) or "none"),
            ("disk", f"{size_text(usage.free)} free of {size_text(usage.total)}"),
        ]
    )
    if newest:
        heading("Last changed")
        print_rows(newest, filled(newest, {name: column(name) for name in DEFAULT_COLUMNS}))
    else:
        print("\nNo tasks yet: call Task.init in a script, or see `localtrack demo`.")
    note("`localtrack ls` lists all, `localtrack show @last` the newest, `localtrack --help` all verbs")
