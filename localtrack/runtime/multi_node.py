"""One script on several nodes: the run of an agent queues copies of its task, and each learns who it is.

Source: ClearML's Task.launch_multi_node; docs/how-to/remote-execution.md, "Several nodes".
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

from localtrack.errors import InvalidValueError, UsageError
from localtrack.records.plain import replace
from localtrack.records.status import Status
from localtrack.records.task import TaskRecord
from localtrack.runtime.session import Session
from localtrack.services import lifecycle, tasks

SECTION = "launch_multi_node"
INSTANCE_TAG = "multi_node_instance"
HIDDEN_TAG = "hidden"
WAIT_S = 2.0
_started: set[str] = set()


def node_of(session: Session) -> dict[str, Any] | None:
    """Return what a node that the master queued was told; None on the master."""
    found = session.record_at_start.runtime.get(SECTION)
    return dict(found) if isinstance(found, Mapping) and found.get("node_rank") else None


def master_values(
    port: int | None, wait: bool, addr: str | None, devices: int | Sequence[int] | None
) -> dict[str, Any]:
    """Return what every node is told, with the master's own address."""
    return {
        "master_addr": os.environ.get("MASTER_ADDR") or addr or private_address(),
        "master_port": int(os.environ.get("MASTER_PORT") or port or 29500),
        "node_rank": 0,
        "wait": wait,
        "devices": list(devices) if isinstance(devices, Sequence) else devices,
    }


def private_address() -> str:
    """Return the address by which other hosts reach this one; that of this host alone where there is no network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent: the kernel only chooses the way
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def queue_nodes(session: Session, values: Mapping[str, Any], *, hide: bool) -> None:
    """Queue one copy of the running task for each further node; once a process.

    Raises:
        UsageError: the task came from no queue and none is named.
    """
    if session.task_id in _started:
        return
    queue = str(values.get("queue") or session.record_at_start.runtime.get("queue") or "")
    if not queue:
        raise UsageError(
            "launch_multi_node: the task came from no queue: name one with queue=", task_id=session.task_id
        )
    _started.add(session.task_id)
    source = tasks.read(session.ctx, session.task_id, session.writer.folder)
    nodes = []
    for rank in range(1, int(values["total_num_nodes"])):
        node = tasks.clone(session.ctx, source.id, name=f"{source.name} <node {rank}>", parent=source.id)
        tasks.edit(session.ctx, node.id, _told({**values, "node_rank": rank}, hide), "node", checked=False)
        lifecycle.enqueue(session.ctx, node.id, queue)
        nodes.append(node.id)
    for task_id in nodes if values.get("wait") else ():
        while tasks.read(session.ctx, task_id).state in (Status.CREATED, Status.QUEUED):
            time.sleep(WAIT_S)


def _told(values: Mapping[str, Any], hide: bool) -> Any:
    def change(record: TaskRecord) -> TaskRecord:
        tags = (*record.system_tags, INSTANCE_TAG, *((HIDDEN_TAG,) if hide else ()))
        return replace(
            record, system_tags=tuple(dict.fromkeys(tags)), runtime={**record.runtime, SECTION: dict(values)}
        )

    return change


def set_environment(values: Mapping[str, Any]) -> None:
    """Set the variables by which ``torch.distributed`` and its like find each other.

    Raises:
        InvalidValueError: ``devices`` is neither a number nor a list, or -1 without torch.
    """
    count = _device_count(values.get("devices"))
    rank = int(values.get("node_rank") or 0)
    os.environ["MASTER_ADDR"] = str(values.get("master_addr") or "")
    os.environ["MASTER_PORT"] = str(values.get("master_port") or "")
    os.environ["NODE_RANK"] = str(rank)
    os.environ["RANK"] = str(rank * count + int(os.environ.get("LOCAL_RANK", "0")))
    os.environ["WORLD_SIZE"] = str(int(values["total_num_nodes"]) * count)


def _device_count(devices: Any) -> int:
    if devices is None:
        return 1
    if isinstance(devices, (list, tuple)):
        return len(devices)
    try:
        count = int(devices)
    except (TypeError, ValueError):
        raise InvalidValueError(f"launch_multi_node: devices must be a number or a list, not {devices!r}") from None
    if count >= 0:
        return count
    try:
        import torch
    except ImportError:
        raise InvalidValueError(
            "launch_multi_node: devices=-1 counts them with torch, which is not installed"
        ) from None
    return int(torch.cuda.device_count())
