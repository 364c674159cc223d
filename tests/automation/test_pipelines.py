"""Pipelines as they are defined: references, errors, scripts of functions, lazy values; and what stands in for a step."""

from __future__ import annotations

import functools
import math
import os.path as paths
from typing import Any

import pytest

from localtrack import PipelineController, PipelineDecorator, Task
from localtrack.automation.pipelines.conductor import Conductor
from localtrack.automation.pipelines.drafts import is_parameter
from localtrack.automation.pipelines.lazy import LazyValue, find_lazy, is_lazy, value_of, without_lazy
from localtrack.automation.pipelines.node import Node
from localtrack.automation.pipelines.references import find_references, replace_references
from localtrack.automation.pipelines.report import depths, picture
from localtrack.automation.pipelines.source import innermost, make_script
from localtrack.automation.pipelines.step import call, spread
from localtrack.errors import InvalidValueError, QueueNotFoundError, TaskNotFoundError, UnsupportedError, UsageError

LIMIT = 3
NESTED = {"a": [1, 2.5, None]}
UNKNOWN = object()


def bare(function: Any) -> Any:
    """Decorate without saying so."""

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def polite(function: Any) -> Any:
    """Decorate and say so."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


class Kept:
    """A class of the module."""

    size = LIMIT


def helper(value: int) -> float:
    """Use an import and a constant."""
    return math.sqrt(value) + LIMIT


@bare
@polite
def decorated(value: int = 1) -> Any:
    """Use what lies around."""
    return helper(value), Kept, NESTED, paths.join("a", "b"), UNKNOWN


def plain(first: int, second: int = 2) -> int:
    """Add."""
    return first + second


def mutual(number: int) -> int:
    """Call one that calls this."""
    return other(number - 1) if number else 0


def other(number: int) -> int:
    """Call one that calls this."""
    return mutual(number)


@pytest.fixture
def pipe(own_task: Task) -> PipelineController:
    """A pipeline with a parameter and a step that returns ``out``."""
    made = PipelineController("one", "lines")
    made.add_parameter("rate", 0.5)
    made.add_function_step("first", plain, {"first": 1}, ["out"])
    return made


class TestReferences:
    """What stands between the braces."""

    def test_a_whole_reference_keeps_the_type_and_a_part_becomes_text(self) -> None:
        """A number stays one, unless text stands around it."""
        assert replace_references("${a.b}", lambda name: 5) == 5
        assert replace_references("x${a.b}y${a.c}", lambda name: name) == "xa.bya.c"
        assert replace_references({"k": ["${a.b}", 1]}, lambda name: 2) == {"k": [2, 1]}
        assert replace_references(["${a.b}"], lambda name: 2, deep=False) == ["${a.b}"]
        assert list(find_references({"k": ("${a.b}", "${c.d} ${e.f}")})) == ["a.b", "c.d", "e.f"]

    def test_a_value_with_braces_is_not_looked_into(self, pipe: PipelineController) -> None:
        """What a reference means is taken as it is, even where it looks like another one."""
        pipe._parameters["rate"] = "${nothing.there}"
        assert Conductor(pipe).look_up("pipeline.rate") == "${nothing.there}"


class TestDefinition:
    """Steps are checked when they are added, and all together before the start."""

    def test_parents_are_those_that_a_step_refers_to(self, pipe: PipelineController) -> None:
        """Named ones come first, each once; the pipeline itself is none."""
        pipe.add_function_step(
            "second", plain, {"first": "${first.out}", "second": "${pipeline.rate}"}, parents=["first"]
        )
        pipe.add_function_step("third", plain, {"first": 1, "second": "${second.id}"})
        nodes = pipe.get_pipeline_dag()
        assert nodes["second"].parents == ["first"]
        assert nodes["third"].parents == ["second"]
        assert nodes["second"].parameters == {
            "kwargs/second": "${pipeline.rate}",
            "kwargs_artifacts/first": "${first.id}.out",
        }
        assert isinstance(nodes["first"], PipelineController.Node)

    @pytest.mark.parametrize(
        ("kwargs", "said"),
        [
            (
                {"first": "${gone.out}"},
                r"step 'second', 'first': \$\{gone.out\}: there is no step 'gone' \(steps: first\)",
            ),
            ({"first": "${first.other}"}, r"step 'first' returns no 'other' \(it returns: out\)"),
            ({"first": "${first}"}, r"names nothing of step 'first'"),
            ({"first": "${pipeline.size}"}, r"no parameter 'size' \(there are: rate\)"),
            ({"first": "${first.artifacts}"}, "step 'first' returns no 'artifacts'"),
            ({"first": "${first.wrong.x}"}, "a step has no 'wrong'"),
            ({"first": "${first.models.output}"}, "models.output.-1.url"),
            ({"third": 1}, "function plain has no argument 'third'"),
        ],
    )
    def test_a_reference_that_means_nothing_is_refused(
        self, pipe: PipelineController, kwargs: dict[str, Any], said: str
    ) -> None:
        """The message names the step, the argument and what there is."""
        with pytest.raises(InvalidValueError, match=said):
            pipe.add_function_step("second", plain, kwargs)
        assert list(pipe.get_pipeline_dag()) == ["first"]

    @pytest.mark.parametrize(
        ("name", "said"), [("first", "already"), ("pipeline", "can't be named"), ("a${b}", "without")]
    )
    def test_a_name_that_can_not_be_is_refused(self, pipe: PipelineController, name: str, said: str) -> None:
        """Twice the same, the pipeline's own, and signs of references."""
        with pytest.raises(InvalidValueError, match=said):
            pipe.add_function_step(name, plain, {"first": 1})

    def test_a_parent_that_is_not_there_is_refused_at_the_start(self, pipe: PipelineController) -> None:
        """It may be added later; nothing has run when it was not."""
        pipe.add_function_step("second", plain, {"first": 1}, parents=["third"])
        with pytest.raises(InvalidValueError, match="step 'second': there is no step 'third' to wait for"):
            pipe.start_locally(run_pipeline_steps_locally=True)
        assert Task.get_tasks(task_name="^first$") == []

    def test_a_circle_is_refused_at_the_start(self, pipe: PipelineController) -> None:
        """The steps of it are named, the others not."""
        pipe.add_function_step("second", plain, {"first": 1}, parents=["third"])
        pipe.add_function_step("third", plain, {"first": 1}, parents=["second"])
        with pytest.raises(InvalidValueError, match="the steps second, third wait for each other"):
            pipe.start_locally(run_pipeline_steps_locally=True)

    def test_base_tasks_are_looked_for_at_once(self, pipe: PipelineController) -> None:
        """No task, no such task, and two ways at once."""
        with pytest.raises(InvalidValueError, match="needs base_task_id, or"):
            pipe.add_step("second")
        with pytest.raises(TaskNotFoundError):
            pipe.add_step("second", base_task_id="0" * 32)
        with pytest.raises(LookupError):
            pipe.add_step("second", base_task_project="lines", base_task_name="nobody")
        with pytest.raises(InvalidValueError, match="name no base task besides it"):
            pipe.add_step("second", base_task_id="0" * 32, base_task_factory=lambda node: None)  # type: ignore[arg-type, return-value]

    def test_queues_are_looked_for_before_the_start(self, pipe: PipelineController) -> None:
        """A step without one, and one that is not there."""
        with pytest.raises(InvalidValueError, match="step 'first' has no queue"):
            pipe.start_locally()
        pipe.set_default_execution_queue("nowhere")
        with pytest.raises(QueueNotFoundError, match="nowhere"):
            pipe.start_locally()

    def test_a_pipeline_starts_once_and_not_empty(self, own_task: Task) -> None:
        """Both are said, with what to do."""
        empty = PipelineController("empty", "lines")
        with pytest.raises(UsageError, match="has no steps"):
            empty.start_locally()
        with pytest.raises(InvalidValueError, match="no version"):
            PipelineController("other", "lines", version="one point two")
        assert (empty.elapsed(), empty.is_running(), empty.get_running_nodes()) == (-1.0, False, [])

    def test_continue_behaviour_is_taken_apart(self, pipe: PipelineController) -> None:
        """What it leaves out is True, and what it can't hold is refused."""
        pipe.add_function_step("second", plain, {"first": 1}, continue_behaviour={"skip_children_on_fail": False})
        node = pipe.get_pipeline_dag()["second"]
        assert (node.continue_on_fail, node.continue_on_abort, node.skip_children_on_fail) == (True, True, False)
        with pytest.raises(InvalidValueError, match="has no 'continue'"):
            pipe.add_function_step("third", plain, {"first": 1}, continue_behaviour={"continue": True})

    def test_objects_that_are_no_parameters_are_kept_as_artifacts(
        self, pipe: PipelineController, own_task: Task
    ) -> None:
        """They are in the pipeline's task, and come back as what they were."""
        pipe.add_function_step("second", plain, {"first": {1: {2, 3}}})
        parameters = pipe.get_pipeline_dag()["second"].parameters
        assert parameters["kwargs_artifacts/first"] == f"{own_task.id}.second/first"
        assert own_task.artifacts["second/first"].get() == {1: {2, 3}}
        assert is_parameter({"a": [1, (2.5, None)]})
        assert not is_parameter({"a/b": 1})
        assert not is_parameter(True.__class__)

    def test_several_pipelines_at_once_are_refused(self) -> None:
        """With the local way."""
        with pytest.raises(UnsupportedError, match="start the script once for each"):
            PipelineDecorator.pipeline(name="x", project="y", multi_instance_support="parallel")

    def test_a_step_outside_of_a_pipeline_says_so(self) -> None:
        """It is no plain function any more."""
        step = PipelineDecorator.component()(plain)
        with pytest.raises(UsageError, match="plain is a step of a pipeline"):
            step(1)

    def test_the_picture_has_a_column_for_each_distance(self, pipe: PipelineController) -> None:
        """A step stands to the right of all it waits for, with an arrow from each."""
        pipe.add_function_step("second", plain, {"first": "${first.out}"})
        pipe.add_function_step("aside", plain, {"first": 1})
        pipe.add_function_step("third", plain, {"first": "${first.id}", "second": "${second.id}"})
        figure = picture(list(pipe.get_pipeline_dag().values()))
        assert figure["data"][0]["x"] == [0.0, 1.0, 0.0, 2.0]
        assert len(figure["layout"]["annotations"]) == 3


class TestSource:
    """The script of a function."""

    def test_what_the_function_uses_goes_with_it(self) -> None:
        """Functions, classes, imports, constants and decorators, in an order that runs; objects do not."""
        script = make_script(decorated, ["a"])
        names: dict[str, Any] = {"__name__": "elsewhere"}
        exec(script, names)
        with pytest.raises(NameError, match="UNKNOWN"):
            names["decorated"](4)
        assert names["helper"](4) == 5.0
        assert (names["Kept"].size, names["NESTED"]) == (3, NESTED)
        assert "import os.path as paths" in script
        assert "run_step(decorated, ('a',))" in script
        assert script.count("def polite") == 1

    def test_the_function_below_its_decorators_is_found(self) -> None:
        """Whether they say that they wrap it or not; a neighbour in the same function is none of them."""

        def near() -> int:
            return 1

        def uses_near() -> int:
            return near()

        assert innermost(decorated).__name__ == "decorated"
        assert innermost(uses_near) is uses_near
        names: dict[str, Any] = {"__name__": "elsewhere"}
        exec(make_script(uses_near, []), names)
        assert names["uses_near"]() == 1

    def test_functions_that_call_each_other_go_once(self) -> None:
        """A circle of calls ends."""
        names: dict[str, Any] = {"__name__": "elsewhere"}
        exec(make_script(mutual, ["a"]), names)
        assert names["mutual"](3) == 0

    def test_imports_can_be_left_out(self) -> None:
        """As ``skip_global_imports`` asks."""
        assert "import math" in make_script(helper, ["a"])
        assert "import math" not in make_script(helper, ["a"], with_imports=False)

    @pytest.mark.parametrize("function", [lambda: 1, len, functools.partial(plain, 1), 5])
    def test_what_has_no_source_is_refused(self, pipe: PipelineController, function: Any) -> None:
        """When the step is added, not when its turn comes."""
        with pytest.raises(InvalidValueError, match="a step is a function with a name"):
            pipe.add_function_step("second", function)


class TestStep:
    """The function in the step's process."""

    def test_numbered_arguments_follow_the_positional_ones(self) -> None:
        """A star takes them in their order, from ten on as well."""

        def takes(first: int, *more: int, last: int = 0) -> Any:
            return first, more, last

        numbers = {str(number): number for number in range(12)}
        assert call(takes, {"first": -1, "last": 5, **numbers}) == (-1, tuple(range(12)), 5)
        assert call(takes, {"first": 1}) == (1, (), 0)

    def test_the_number_of_returned_values_must_fit(self) -> None:
        """One name takes all; several take one each."""
        assert spread((1, 2), ["all"], "f") == [(1, 2)]
        assert spread((1, 2), ["a", "b"], "f") == [1, 2]
        assert spread(None, [], "f") == []
        with pytest.raises(InvalidValueError, match="f returned 3 value"):
            spread((1, 2, 3), ["a", "b"], "f")


class TestLazy:
    """What stands for a value."""

    def test_it_behaves_as_the_value(self) -> None:
        """Operators on both sides, containers, classes, formats; fetched once."""
        fetched: list[int] = []
        number = LazyValue(lambda: fetched.append(1) or 7)
        assert not fetched
        assert (number + 1, 1 - number, number * 2.0, -number, number > 6, number == 7, divmod(20, number)) == (
            8, -6, 14.0, -7, True, True, (2, 6),
        )  # fmt: skip
        assert isinstance(number, int)
        assert f"{number:02d} {number}" == "07 7"
        assert [10, 20][LazyValue(lambda: 1)] == 20
        assert math.sqrt(LazyValue(lambda: 4)) == 2.0
        assert fetched == [1]
        items = LazyValue(lambda: [3, 4])
        items.append(5)
        items[0] = 2
        assert (len(items), list(items), 4 in items, items[-1], [*reversed(items)]) == (
            3,
            [2, 4, 5],
            True,
            5,
            [5, 4, 2],
        )
        assert not LazyValue(lambda: [])
        with pytest.raises(AttributeError):
            items.nothing  # noqa: B018

    def test_it_is_found_without_waiting(self) -> None:
        """In lists, tuples and dicts, at any depth."""

        def refuse() -> Any:
            raise AssertionError("nobody asked for the value")

        lazy = LazyValue(refuse)
        assert is_lazy(lazy)
        assert len(find_lazy({"a": [1, (lazy, lazy)]})) == 2
        ready = LazyValue(lambda: 1)
        assert without_lazy({"a": [ready, (ready, 2)]}) == {"a": [1, (1, 2)]}
        assert value_of(ready) == 1
        assert value_of("x") == "x"


def test_a_picture_has_a_column_for_each_distance_from_the_start() -> None:
    """Whatever the order of the steps; a circle, which the start refuses, can be drawn as well."""
    first, second, third = Node("first"), Node("second", parents=["first"]), Node("third", parents=["first", "second"])
    assert depths([third, second, first]) == {"first": 0, "second": 1, "third": 2}
    first.parents = ["third"]
    assert set(depths([first, second, third])) == {"first", "second", "third"}
