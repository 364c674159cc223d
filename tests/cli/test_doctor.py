"""`localtrack doctor`."""

from __future__ import annotations

from localtrack.records.status import Status
from localtrack.services import lifecycle, tasks
from localtrack.store.layout import TaskLayout


def checks(ran):
    """Return the findings by name."""
    return {check["name"]: check for check in ran.json["checks"]}


def test_a_sound_store_is_sound(cli, make):
    """On a sound store nothing is wrong, and the probe leaves nothing behind."""
    make()
    ran = cli("doctor", "--json")
    assert ran.code == 0, ran.out
    assert ran.json["is_good"]
    assert {check["level"] for check in ran.json["checks"]} <= {"good", "note"}
    assert checks(ran)["metadata"]["found"] == "1 task, all readable"


def test_plain_text_has_one_line_a_check(cli, store):
    """Plain text has a line for each check, and the verdict on stderr."""
    ran = cli("doctor")
    assert any(line.startswith("ok") and "hard links" in line for line in ran.out.splitlines())
    assert "all is well" in ran.err


def test_queued_without_an_entry_is_wrong(cli, ctx, make):
    """A queued task that no queue holds is found, with the verb that mends it, and exit code 1."""
    task = make()
    lifecycle.change_status(ctx, task.id, Status.QUEUED)
    ran = cli("doctor", "--json")
    assert ran.code == 1
    found = checks(ran)["queued tasks"]
    assert found["level"] == "bad"
    assert f"localtrack enqueue {task.id[:8]}" in found["consequence"]
    assert cli("enqueue", task.id).code == 0
    assert cli("doctor").code == 0


def test_an_entry_without_a_task_is_noted(cli, ctx, store):
    """A queue entry whose task is gone is noted."""
    ctx.queues.get("default").enqueue("ab" * 16)
    found = checks(cli("doctor", "--json"))["queue entries"]
    assert found["level"] == "note"
    assert "abababab" in found["found"]


def test_unreadable_metadata_is_wrong(cli, ctx, make):
    """A task none of whose metadata is whole is named; the others count as readable."""
    make("sound")
    task = make("broken")
    for path in TaskLayout(tasks.folder_of(ctx, task.id)).metadata.iterdir():
        path.chmod(0o644)
        path.write_bytes(b"{")
    ran = cli("doctor", "--json")
    assert ran.code == 1
    assert checks(ran)["metadata"]["level"] == "bad"
    assert "broken" in checks(ran)["metadata"]["found"]


def test_a_shared_store_that_lost_its_modes_is_wrong(cli, tmp_path):
    """A shared store whose folder is no longer setgid is found, with the chmod that mends it."""
    cli("init", tmp_path / "s", "--shared", on_store=False)
    (tmp_path / "s").chmod(0o755)
    ran = cli("--root", tmp_path / "s", "doctor", "--json", on_store=False)
    assert ran.code == 1
    assert "chmod 2770" in checks(ran)["sharing"]["consequence"]
