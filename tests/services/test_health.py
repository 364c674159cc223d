"""What `doctor` finds, as the service sees it."""

from __future__ import annotations

import pytest

from localtrack.fs.probe import FsVerdict
from localtrack.records.status import Status
from localtrack.services import health, lifecycle, tasks


def find(ctx, name):
    """Return the finding of that name."""
    return next(finding for finding in health.examine(ctx) if finding.name == name)


def test_an_empty_store_is_sound(ctx):
    """An empty store has a finding for each thing, and nothing is wrong."""
    findings = health.examine(ctx)
    assert not health.has_failed(findings)
    assert {"hard links", "index", "metadata", "queued tasks", "trash"} <= {finding.name for finding in findings}


def test_many_of_a_kind_are_counted(ctx):
    """A long list is cut, and says how many more there are."""
    for number in range(7):
        _, task = tasks.create(ctx, name=f"t{number}", project="p")
        lifecycle.change_status(ctx, task.id, Status.QUEUED)
    found = find(ctx, "queued tasks")
    assert found.level == "bad"
    assert "and 2 more" in found.found


def test_a_running_entry_counts_as_in_a_queue(ctx):
    """A queued task whose entry an agent has just claimed is not stranded."""
    _, task = tasks.create(ctx, name="t", project="p")
    lifecycle.enqueue(ctx, task.id, "default")
    queue = ctx.queues.get("default")
    (ref,) = queue.entries()
    assert queue.claims.take(ref.name, 1, agent="a", owner={}) is not None
    assert find(ctx, "queued tasks").level == "good"


def test_a_bad_file_system_makes_the_store_bad(ctx, monkeypatch: pytest.MonkeyPatch):
    """What the probe calls bad is bad here, with what follows."""
    real = health.probe_file_system

    def worse(path):
        from dataclasses import replace

        return replace(real(path), verdicts=(FsVerdict("hard links", "bad", "broken", "use another place"),))

    monkeypatch.setattr(health, "probe_file_system", worse)
    findings = health.examine(ctx)
    assert health.has_failed(findings)
    assert findings[0] == health.Finding("hard links", "bad", "broken", "use another place")
