"""A trigger fires once for each task or model that comes to fit, and not for what did so before."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from localtrack import Model, OutputModel, Task
from localtrack.automation import TriggerScheduler
from localtrack.automation import scheduling as scheduling_module
from localtrack.errors import InvalidValueError
from localtrack.services import lifecycle
from localtrack.services.context import StoreContext
from tests.agent.conftest import wait_for
from tests.automation.conftest import lose
from tests.automation.test_objective import make_task
from tests.automation.test_scheduler import end, queued


@pytest.fixture
def make(store_in_force: StoreContext) -> Iterator[Callable[..., TriggerScheduler]]:
    """Return what makes a scheduler; a second one finds what the first one left, as after a restart."""
    store_in_force.queues.create("work")
    yield TriggerScheduler
    end()


def ready(one: TriggerScheduler) -> TriggerScheduler:
    """Let it take a first look, at what is there already."""
    one._prepare()
    one._step()
    return one


def make_model(name: str = "net", tags: list[str] | None = None, project: str = "examples") -> OutputModel:
    """Make a model of a task of its own."""
    task = Task.create(project, f"makes {name}")
    model = OutputModel(task=task, name=name, tags=tags or [])
    model.update_weights(register_uri=f"s3://models/{name}.bin")
    return model


def test_a_task_that_changes_its_status_starts_another(store_in_force: StoreContext, make: Any, base: Task) -> None:
    """A clone with the task's id among its parameters and the trigger's name as a tag: once, whatever changes later."""
    make_task([1.0])
    one = make()
    one.add_task_trigger(
        base, schedule_queue="work", name="evaluate", trigger_project="search", trigger_on_status=["completed"],
        task_parameters={"General/of": "${task.id}"},
    )  # fmt: skip
    ready(one)
    assert queued(store_in_force) == []
    done = make_task([2.0])
    make_task([2.0], "failed")
    one._step()
    (task_id,) = queued(store_in_force)
    started = Task.get_task(task_id=task_id)
    assert started.get_parameter("General/of") == done
    assert "evaluate" in started.get_tags()
    Task.get_task(task_id=done).add_tags(["more"])
    one._step()
    assert len(queued(store_in_force)) == 1


@pytest.mark.parametrize(("sign", "fires"), [("max", 0.9), ("maximum", 0.5), ("min", 0.1), (None, 0.5)])
def test_a_metric_past_its_threshold_calls_a_function(make: Any, sign: str | None, fires: float) -> None:
    """At any time of the run: the highest value for max, the lowest for min, which is meant without a sign."""
    called: list[str] = []
    one = make()
    one.add_task_trigger(
        schedule_function=called.append, name="score", trigger_on_metric="loss", trigger_on_variant="valid",
        trigger_on_threshold=0.5, trigger_on_sign=sign,
    )  # fmt: skip
    ready(one)
    is_high = sign in ("max", "maximum")
    hit = told_metrics(make_task([fires, 0.2 if is_high else 0.8]))
    told_metrics(make_task([0.4 if is_high else 0.6]))
    told_metrics(make_task([fires], series="train"))
    one._step()
    wait_for(lambda: called == [hit])


def told_metrics(task_id: str) -> str:
    """Let a task's metadata know of its scalars, as the end of its own process would."""
    from localtrack.services import reports

    task = Task.get_task(task_id=task_id)
    folder = task._where()
    task._edit(lambda record: reports.with_reported_metrics(record, folder), "metrics", checked=False)
    return task_id


def test_a_lost_task_counts_as_failed(store_in_force: StoreContext, make: Any) -> None:
    """Nobody writes down that a process died: it is found all the same, and once."""
    called: list[str] = []
    one = make()
    one.add_task_trigger(schedule_function=called.append, name="rescue", trigger_on_status=["failed"])
    ready(one)
    task = Task.create("search", "dies")
    task.mark_started()
    lose(store_in_force, task.id)
    assert task.status == "failed"
    one._step()
    wait_for(lambda: called == [task.id])
    one._step()
    assert called == [task.id]


def test_names_tags_and_hand_made_runs_narrow_it_down(make: Any) -> None:
    """A regular expression, all tags, and no runs by hand."""
    called: list[str] = []
    one = make()
    one.add_task_trigger(
        schedule_function=called.append, name="narrow", trigger_name="^good", trigger_on_tags=["a"],
        trigger_required_tags=["b"], trigger_exclude_dev_tasks=True,
    )  # fmt: skip
    ready(one)
    for name, tags, system in (
        ("good one", ["a", "b"], []), ("good two", ["a"], []), ("bad", ["a", "b"], []), ("good dev", ["a", "b"], ["development"]),
    ):  # fmt: skip
        task = Task.create("search", name)
        task.set_tags(tags)
        task.set_system_tags(system)
    one._step()
    wait_for(lambda: len(called) == 1)
    assert Task.get_task(task_id=called[0]).name == "good one"


def test_a_model_that_is_tagged_or_published(store_in_force: StoreContext, make: Any, base: Task) -> None:
    """Models of the project, when they come to fit, each once for each trigger."""
    called: list[str] = []
    early = make_model("early", ["deploy"])
    one = make()
    one.add_model_trigger(
        schedule_function=called.append, name="tagged", trigger_project="examples", trigger_on_tags=["deploy"]
    )
    one.add_model_trigger(
        base.id, schedule_queue="work", name="published", trigger_on_publish=True, add_tag="check",
        task_parameters={"General/model": "${model.id}"},
    )  # fmt: skip
    one.add_model_trigger(
        schedule_function=called.append, name="archived", trigger_on_archive=True, trigger_name="^old"
    )
    ready(one)
    model = make_model()
    make_model("other", ["deploy"], project="elsewhere")
    one._step()
    assert called == []
    model.tags = ["deploy"]
    one._step()
    wait_for(lambda: called == [model.id])
    model.publish()
    one._step()
    (task_id,) = queued(store_in_force)
    assert Task.get_task(task_id=task_id).get_parameter("General/model") == model.id
    assert "check" in Task.get_task(task_id=task_id).get_tags()
    old = make_model("old one")
    Model(model_id=old.id).archive()
    one._step()
    wait_for(lambda: called == [model.id, old.id])
    assert early.id not in called


def test_a_dataset_is_a_task_that_makes_data(make: Any) -> None:
    """Of type data_processing, completed or published."""
    called: list[str] = []
    one = make()
    one.add_dataset_trigger(schedule_function=called.append, name="data", trigger_project="datasets")
    ready(one)
    made = []
    for kind in ("data_processing", "training"):
        task = Task.create("datasets", kind, task_type=kind)
        task.mark_started()
        task.mark_completed()
        made.append(task.id)
    one._step()
    wait_for(lambda: called == made[:1])


def test_a_restart_finds_what_happened_meanwhile(store_in_force: StoreContext, make: Any, base: Task) -> None:
    """And fires for nothing twice."""

    def scheduler() -> TriggerScheduler:
        one = make()
        one.add_task_trigger(base, schedule_queue="work", name="done", trigger_on_status=["completed"])
        one._prepare()
        return one

    first = scheduler()
    first._step()
    make_task([1.0])
    first._step()
    assert len(queued(store_in_force)) == 1
    end()
    make_task([2.0])
    second = scheduler()
    assert second._task.id == first._task.id
    second._step()
    second._step()
    assert len(queued(store_in_force)) == 2


def test_a_kill_in_the_middle_fires_once(
    store_in_force: StoreContext, make: Any, base: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task of the firing is found by its name, and queued by the successor."""

    class KilledError(BaseException):
        pass

    def kill(*args: Any, **kwargs: Any) -> Any:
        raise KilledError

    def scheduler() -> TriggerScheduler:
        one = make()
        one.add_task_trigger(
            base, schedule_queue="work", name="done", trigger_on_status=["completed"],
            task_parameters={"General/of": "${task.id}"},
        )  # fmt: skip
        one._prepare()
        return one

    first = scheduler()
    first._step()
    done = make_task([1.0])
    with monkeypatch.context() as patch:
        patch.setattr(scheduling_module.lifecycle, "enqueue", kill)
        with pytest.raises(KilledError):
            first._step()
    end()
    second = scheduler()
    second._step()
    (task_id,) = queued(store_in_force)
    assert Task.get_task(task_id=task_id).get_parameter("General/of") == done


def test_one_at_a_time_defers_and_loses_nothing(store_in_force: StoreContext, make: Any, base: Task) -> None:
    """With single_instance the second event waits for the end of what the first one started."""
    one = make()
    one.add_task_trigger(
        base, schedule_queue="work", name="done", trigger_on_status=["completed"], trigger_project="search",
        single_instance=True, target_project="started",
    )  # fmt: skip
    ready(one)
    make_task([1.0])
    make_task([2.0])
    one._step()
    one._step()
    (first,) = queued(store_in_force)
    lifecycle.request_stop(store_in_force, first)
    one._step()
    (second,) = queued(store_in_force)
    assert second != first


def test_the_task_shows_the_triggers(make: Any, base: Task) -> None:
    """A table, and the triggers as a configuration that can be edited in a clone."""
    one = make()
    one.add_task_trigger(base, schedule_queue="work", name="done", trigger_on_status=["completed"])
    ready(one)
    one._sync()
    (body,) = one._task.get_configuration_object_as_dict("triggers")
    assert body["on_status"] == ["completed"]
    assert "triggers" in {plot["metric"] for plot in one._task.get_reported_plots()}
    assert [trigger.name for trigger in one.get_triggers()] == ["done"]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({}, "what is to be started"),
        ({"schedule_task_id": "x"}, "queue"),
        ({"schedule_function": print, "trigger_on_metric": "loss"}, "go together"),
        ({"schedule_function": print, "trigger_on_status": ["done"]}, "done"),
        ({"schedule_function": print, "trigger_on_tags": "deploy"}, "list"),
        ({"schedule_function": print, "trigger_name": "("}, "trigger_name"),
        (
            {
                "schedule_function": print, "trigger_on_metric": "a", "trigger_on_variant": "b", "trigger_on_threshold": 0,
                "trigger_on_sign": "up",
            },
            "trigger_on_sign",
        ),
    ],
)  # fmt: skip
def test_a_trigger_without_sense_is_refused(make: Any, options: dict[str, Any], word: str) -> None:
    """At once, with the reason."""
    with pytest.raises(InvalidValueError, match=word):
        make().add_task_trigger(**options)


def test_clocks_that_differ_by_minutes_lose_nothing(store_in_force: StoreContext, make: Any, base: Task) -> None:
    """A task that a host with a slow clock changed is found."""
    one = make()
    one.add_task_trigger(base, schedule_queue="work", name="done", trigger_on_status=["completed"])
    ahead = dt.datetime.now(dt.timezone.utc) + dt.timedelta(minutes=5)
    one._clock = lambda: ahead
    ready(one)
    make_task([1.0])
    one._step()
    assert len(queued(store_in_force)) == 1
