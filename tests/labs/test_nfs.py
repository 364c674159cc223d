"""Two kernels on one NFS export: what a store promises between hosts, on NFS 4.2 and on NFS 3.

Source: docs/format/v1.md, "What the file system must offer".
"""

from __future__ import annotations

import secrets
import time
from collections import Counter

import pytest

from tests.labs.conftest import VERSIONS, Share, agent_log, answer
from tests.labs.uml import Host

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

INCREMENTS = 60
ENTRIES = 100
SEEN_WITHIN_S = 5.0


POLL_INTERVAL_S = 2.0
CLAIM_WITHIN_S = 2.0
LEASE_S = 6.0
TAKEN_OVER_WITHIN_LEASES = 6

RUN_MARKER = """
import os, pathlib, socket, time
folder = pathlib.Path(os.environ["LOCALTRACK_ROOT"]).parent
number = 1 + sum(name.startswith("ran.") for name in os.listdir(folder))
host = socket.gethostname()
with open(folder / f"ran.{host}.{number}", "x"):
    pass
"""
TRACKED = (
    RUN_MARKER
    + """
from localtrack import Task
task = Task.init(project_name="lab", task_name="tracked", auto_resource_monitoring=False)
task.get_logger().report_scalar("loss", "train", 0.5, 1)
"""
)
STAYING = (
    RUN_MARKER
    + """
if host.startswith("c"):
    time.sleep(600)
"""
)


def write_script(share: Share, code: str) -> None:
    """Put a script where the hosts find it."""
    share.server.run(f"cat > {share.on_server}/main.py <<'END'\n{code}\nEND")


def runs_of(share: Share) -> list[str]:
    """Return the markers that the runs of a script left."""
    return [name for name in share.server.run(f"ls {share.on_server}").split() if name.startswith("ran.")]


def lost_updates(expected: int, found: int) -> int:
    """Return how many of the acknowledged updates are not in the result."""
    return expected - found


def wait_for_claim(share: Share) -> None:
    """Wait until an agent has claimed something."""
    deadline = time.monotonic() + 60.0
    while not share.server.run(f"ls {share.on_server}/store/queues/default/claims"):
        assert time.monotonic() < deadline, "no claim within 60 s"
        time.sleep(0.05)


def wait_for_marker(host: Host, share: Share, marker: str) -> None:
    """Wait until a worker has left a marker."""
    deadline = time.monotonic() + 60.0
    while marker not in host.run(f"ls {share.on_server if host is share.server else share.folder}").split():
        assert time.monotonic() < deadline, f"no {marker} within 60 s"
        time.sleep(0.05)


def test_tasks_of_two_hosts_are_all_there(share: Share) -> None:
    """Tasks that two hosts create at once are all found by both, in the index and in the tree."""
    share.call(share.a, "make-store")
    made = share.both("create-tasks", 15)
    expected = sorted(made[0] + made[1])
    assert len(set(expected)) == 30
    for host in (share.a, share.b):
        assert share.call(host, "list-tasks") == {"index": expected, "tree": expected}


def test_both_hosts_may_make_the_store(share: Share) -> None:
    """Two hosts that make one store at the same time both use the same one."""
    share.both("make-store")
    made = share.both("create-tasks", 2)
    expected = sorted(made[0] + made[1])
    assert share.call(share.a, "list-tasks")["tree"] == expected
    assert share.call(share.b, "list-tasks")["tree"] == expected


def test_no_update_of_two_hosts_is_lost(share: Share) -> None:
    """Increments that two hosts commit to one task at once all count."""
    share.call(share.a, "make-store")
    (task_id,) = share.call(share.a, "create-tasks", 1)
    acknowledged = sum(share.both("increment", task_id, INCREMENTS))
    for host in (share.a, share.b):
        assert lost_updates(acknowledged, share.call(host, "counter", task_id)) == 0


def test_entries_are_claimed_once(share: Share) -> None:
    """Two hosts that empty a queue share its entries: none runs twice, none is left."""
    share.call(share.a, "make-store")
    enqueued = share.call(share.a, "enqueue-tasks", ENTRIES, timeout_s=200.0)
    won_a, won_b = share.both("claim-all", timeout_s=200.0)
    claims = Counter(won_a + won_b)
    assert [task_id for task_id, times in claims.items() if times > 1] == []
    assert set(claims) == set(enqueued)
    assert won_a, "host a claimed nothing: they did not run at the same time"
    assert won_b, "host b claimed nothing: they did not run at the same time"


def test_new_task_is_seen_by_a_host_that_looked_before(share: Share) -> None:
    """A task is found on another host within seconds even if that host's cache says that there is none."""
    share.call(share.a, "make-store")
    task_id = secrets.token_hex(16)
    watch = share.begin(share.b, "watch-task", task_id, "looked")
    wait_for_marker(share.server, share, "looked")
    share.call(share.a, "create-task", task_id)
    made = time.monotonic()
    answer(share.b.expect(watch))
    seen_after_s = time.monotonic() - made
    print("seen_after_s", round(seen_after_s, 2))  # pytest -rP shows it
    assert seen_after_s <= SEEN_WITHIN_S


def test_new_entry_is_seen_by_a_host_that_looked_before(share: Share) -> None:
    """A queue entry is found on another host within seconds even if that host looked at the empty queue."""
    share.call(share.a, "make-store")
    (task_id,) = share.call(share.a, "create-tasks", 1)
    watch = share.begin(share.b, "watch-entry", task_id, "looked")
    wait_for_marker(share.server, share, "looked")
    share.call(share.a, "enqueue", task_id)
    made = time.monotonic()
    answer(share.b.expect(watch))
    seen_after_s = time.monotonic() - made
    print("seen_after_s", round(seen_after_s, 2))  # pytest -rP shows it
    assert seen_after_s <= SEEN_WITHIN_S


def test_running_task_of_a_cloned_host_is_not_lost(share: Share) -> None:
    """Hosts made from one image share a machine id; neither takes a running task of the other for dead."""
    share.call(share.a, "make-store")
    held = share.begin(share.a, "hold-task", "held", "release")
    wait_for_marker(share.server, share, "held")
    task_id = share.server.run(f"cat {share.on_server}/held")
    assert share.call(share.b, "status", task_id) == "in_progress"
    share.server.run(f"touch {share.on_server}/release")
    assert answer(share.a.expect(held)) == task_id
    assert share.call(share.b, "status", task_id) == "completed"


def test_deleted_task_is_gone_for_a_host_that_reads_it(share: Share) -> None:
    """A task that one host deletes is gone within seconds for another one whose cache still holds its folder."""
    share.call(share.a, "make-store")
    (task_id,) = share.call(share.a, "create-tasks", 1)
    share.call(share.b, "status", task_id)
    watch = share.begin(share.b, "watch-gone", task_id, "looked")
    wait_for_marker(share.server, share, "looked")
    share.call(share.a, "delete-task", task_id)
    made = time.monotonic()
    answer(share.b.expect(watch))
    seen_after_s = time.monotonic() - made
    print("seen_after_s", round(seen_after_s, 2))  # pytest -rP shows it
    assert seen_after_s <= SEEN_WITHIN_S


def test_agent_on_another_host_runs_a_task(share: Share) -> None:
    """An agent runs what another host enqueues, woken by polling; the other host sees it end. So it does after a reset."""
    share.call(share.a, "make-store")
    write_script(share, TRACKED)
    agent = share.start_agent(share.b, LOCALTRACK_POLL_INTERVAL_S=POLL_INTERVAL_S)
    share.wait_for_agent(share.b)
    timer = share.server.ask("time-claim", share.on_server, "looked")
    wait_for_marker(share.server, share, "looked")
    task_id = share.call(share.a, "enqueue-script", share.folder / "main.py")
    seen = share.call(share.a, "follow", task_id)
    claimed_after_s = float(answer(share.server.expect(timer)))
    assert seen[-1] == "completed", agent_log(share.b)
    run = share.call(share.a, "describe-run", task_id)
    assert (run["exit"], run["host"], run["claims"], run["metrics"]) == (0, "b", ["1"], ["loss"])
    print("claimed_after_s", round(claimed_after_s, 2))  # pytest -rP shows it
    assert claimed_after_s <= POLL_INTERVAL_S + CLAIM_WITHIN_S
    # the draft of a reset takes a folder of its own, and the third one that of the first
    for statuses in share.call(share.a, "rerun", task_id, 2):
        assert statuses[-1] == "completed", agent_log(share.b)
    assert share.call(share.a, "stop-agents") == 1
    share.b.expect(agent)
    assert sorted(runs_of(share)) == ["ran.b.1", "ran.b.2", "ran.b.3"]


def test_task_of_a_dead_host_is_taken_over_once(share: Share) -> None:
    """When the power of an agent's host is cut, one of two other agents runs its task, once, after the lease."""
    share.call(share.a, "make-store")
    write_script(share, STAYING)
    number = 10 + VERSIONS.index(share.version)
    task_id = share.call(share.a, "enqueue-script", share.folder / "main.py")
    victim = share.add_host(f"c{number}", f"10.77.0.{number}")
    share.start_agent(victim, LOCALTRACK_LEASE_S=LEASE_S)
    wait_for_claim(share)
    agents = [share.start_agent(host, LOCALTRACK_LEASE_S=LEASE_S) for host in (share.a, share.b)]
    for host in (share.a, share.b):
        share.wait_for_agent(host)
    wait_for_marker(share.server, share, f"ran.{victim.name}.1")
    assert share.call(share.a, "status", task_id) == "in_progress"
    victim.cut_power()
    cut = time.monotonic()
    assert share.call(share.a, "follow", task_id)[-1] == "completed"
    taken_over_s = time.monotonic() - cut
    print("taken_over_and_done_s", round(taken_over_s, 2))  # pytest -rP shows it
    assert taken_over_s <= TAKEN_OVER_WITHIN_LEASES * LEASE_S
    assert share.call(share.b, "stop-agents") == 3
    for host, agent in zip((share.a, share.b), agents, strict=True):
        host.expect(agent)
    run = share.call(share.b, "describe-run", task_id)
    assert (run["status"], run["claims"], run["claim"], run["waiting"]) == ("completed", ["1", "2"], "2", 0)
    assert run["reasons"].count("taken over") == 1
    assert sorted(name.rpartition(".")[0] for name in runs_of(share)) == sorted(
        [f"ran.{victim.name}", f"ran.{run['host']}"]
    )


@pytest.mark.parametrize("share", ["4.2"], indirect=True)
def test_the_lab_shows_what_a_naive_store_loses(share: Share) -> None:
    """The lab can fail: a correct lock around read and replace loses updates here on NFS 4.2, and is caught."""
    lost = rounds = 0
    while lost == 0 and rounds < 8:
        rounds += 1
        share.server.run(f"echo 0 > {share.on_server}/naive.json")
        acknowledged = sum(share.both("increment-naively", INCREMENTS))
        lost = lost_updates(acknowledged, int(share.server.run(f"cat {share.on_server}/naive.json")))
    assert lost > 0
