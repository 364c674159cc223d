"""What a process does that is measured by ``finding.py``: make a store of many tasks, find some in it, add a few.

Usage: ``finder.py build|find|create NUMBER``; the store comes from ``LOCALTRACK_ROOT``. Answers are checked.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable
from typing import Any

MARK = "BENCHMARK "
PROJECT = "bench/many"
TOP = 20
CREATED = 30
RUNS = 10


def facts(number: int) -> dict[str, Any]:
    """Return what task ``number`` is: ten parameters, five metrics, two tags, the same each time."""
    chance = random.Random(number)
    parameters = {f"General/p{k}": chance.random() for k in range(8)}
    return {
        "name": f"run {number:06d}",
        "tags": (f"t{number % 10}", f"g{number % 7}"),
        "parameters": {**parameters, "General/lr": 10 ** -chance.uniform(1, 4), "General/model": f"net{number % 5}"},
        "metrics": {name: chance.random() for name in ("acc", "loss", "f1", "time", "size")},
    }


def fits(one: dict[str, Any]) -> bool:
    """Tell whether the measured filter lets a task through."""
    return bool(one["parameters"]["General/lr"] <= 0.01 and one["metrics"]["acc"] >= 0.7 and "t3" in one["tags"])


def build(number: int) -> dict[str, Any]:
    """File so many finished tasks, each in one commit."""
    from localtrack.records.parameters import flatten
    from localtrack.services import tasks
    from localtrack.services.context import open_context

    ctx = open_context(create=True)
    for i in range(number):
        one = facts(i)
        values = flatten({key.partition("/")[2]: value for key, value in one["parameters"].items()}, "General")
        metrics = {
            name: {
                name: {
                    "last": value, "last_iteration": 99, "min": value / 2, "min_iteration": 3, "max": value,
                    "max_iteration": 99, "count": 100,
                }
            }
            for name, value in one["metrics"].items()
        }  # fmt: skip
        tasks.create(
            ctx, name=one["name"], project=PROJECT, parameters=values, last_metrics=metrics, tags=one["tags"],
            status="completed", last_iteration=99,
        )  # fmt: skip
    return {}


def _ms(action: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    found = action()
    return (time.perf_counter() - start) * 1e3, found


def find(number: int) -> dict[str, Any]:
    """Time each way of looking once, and check what it finds."""
    import localtrack.index.search
    import localtrack.services.search  # noqa: F401
    from localtrack import Task
    from localtrack.records.filters import Query
    from localtrack.services.context import open_context

    ctx = open_context()
    wanted = {
        "project_name": PROJECT,
        "tags": ["t3"],
        "task_filter": {
            "parameters": {"General/lr": [None, 0.01]},
            "metrics": {"acc/acc": [0.7, None]},
            "order_by": ["-last_metrics.acc.acc.value"],
            "page": 0,
            "page_size": TOP,
        },
    }
    answer: dict[str, Any] = {}
    answer["query_ids_ms"], ids = _ms(Task.query_tasks)
    answer["top_ms"], rows = _ms(lambda: Task.query_tasks(additional_return_fields=["name"], **wanted))
    answer["top_tasks_ms"], top = _ms(lambda: Task.get_tasks(**wanted))
    newest = {"order_by": ["-last_update"], "page": 0, "page_size": TOP}
    answer["name_ms"], named = _ms(lambda: Task.query_tasks(task_name="7.*3$", task_filter=newest))
    answer["fields_ms"], fields = _ms(
        lambda: Task.query_tasks(additional_return_fields=["name", "status", "last_update"])
    )
    answer["get_all_ms"], everything = _ms(Task.get_tasks)
    some = ids[len(ids) // 2]
    answer["get_ms"], _ = _ms(lambda: Task.get_task(task_id=some))
    other = ids[len(ids) // 3]
    answer["get_name_ms"], name = _ms(lambda: Task.get_task(task_id=other).name)
    answer["whole_ms"], whole = _ms(lambda: ctx.index.search(Query()))

    assert len(ids) == len(fields) == len(whole) == len(everything) >= number
    best = sorted((one for one in map(facts, range(number)) if fits(one)), key=lambda one: -one["metrics"]["acc"])
    assert [row["name"] for row in rows] == [one["name"] for one in best[:TOP]]
    assert [task.id for task in top] == [row["id"] for row in rows]
    assert len(named) == TOP
    assert name.startswith("run ")
    return answer


def create(number: int) -> dict[str, Any]:
    """Make some tasks in the large store; medians."""
    from localtrack import Task

    created = []
    for i in range(CREATED):
        ms, _ = _ms(lambda i=i: Task.create(project_name=PROJECT + "/more", task_name=f"draft {i}"))
        created.append(ms)
    ran = [_ms(lambda i=i: _run(i))[0] for i in range(RUNS)]
    return {"create_ms": sorted(created)[CREATED // 2], "run_ms": sorted(ran)[RUNS // 2]}


def _run(number: int) -> None:
    from localtrack import Task

    one = facts(number)
    task = Task.init(
        project_name=PROJECT + "/more", task_name=one["name"], tags=one["tags"], reuse_last_task_id=False,
        auto_connect_arg_parser=False, auto_connect_frameworks=False, auto_resource_monitoring=False,
        auto_connect_streams=False,
    )  # fmt: skip
    task.set_parameters(one["parameters"])
    for name, value in one["metrics"].items():
        task.get_logger().report_scalar(name, name, value, 0)
    task.close()


if __name__ == "__main__":
    action = {"build": build, "find": find, "create": create}[sys.argv[1]]
    print(f"\n{MARK}{json.dumps(action(int(sys.argv[2])))}", flush=True)
