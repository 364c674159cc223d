"""Each argument parser is recorded with its types, and a clone's changed values reach the script under an agent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from localtrack.services import parameters, tasks
from localtrack.services.context import StoreContext
from tests.frameworks.conftest import Run

INIT = "from localtrack import Task\nTask.init(project_name='f', task_name='n', reuse_last_task_id=False)\n"


@dataclass
class Case:
    """A script and what is expected of it.

    Attributes:
        package: what must be installed.
        script: its source; it prints what it got.
        argv: its command line.
        recorded: parameters that must be in the task.
        changes: what a clone is changed to.
        got: what the script prints then.
        again: command line of the clone's run; the same as at first where None.
    """

    package: str
    script: str
    argv: tuple[str, ...]
    recorded: dict[str, Any]
    changes: dict[str, str]
    got: str
    again: tuple[str, ...] | None = None
    absent: tuple[str, ...] = field(default=())


CASES = {
    "fire function": Case(
        "fire", f"{INIT}import fire\ndef f(n, name='a', sizes=(1, 2)):\n    print('GOT', n, name, sizes)\nfire.Fire(f)",
        ("3", "--name", "x"), {"Args/n": 3, "Args/name": "x", "Args/sizes": [1, 2]},
        {"n": "4", "name": "it's", "sizes": "[5]"}, "GOT 4 it's [5]",
    ),
    "fire class": Case(
        "fire", f"""{INIT}import fire
class Calculator:
    def __init__(self, offset=1): self.offset = offset
    def add(self, x, y): print('GOT', x + y + self.offset)
    def times(self, x, y): print('GOT', x * y + self.offset)
fire.Fire(Calculator)""",
        ("add", "1", "2", "--offset", "3"),
        {"Args/add": True, "Args/add/x": 1, "Args/add/y": 2, "Args/times": False, "Args/times/x": None, "Args/offset": 3},
        {"Args/add": "false", "Args/times": "true", "Args/times/x": "4", "Args/times/y": "5"}, "GOT 23",
    ),
    "fire group": Case(
        "fire", f"""{INIT}import fire
class Inner:
    def run(self, volume=1): print('GOT', volume)
class Outer:
    def __init__(self): self.inner = Inner()
fire.Fire(Outer())""",
        ("inner", "run", "--volume", "2"), {"Args/inner.run": True, "Args/inner.run/volume": 2},
        {"Args/inner.run/volume": "7"}, "GOT 7",
    ),
    "fire dict": Case(
        "fire", f"{INIT}import fire\nfire.Fire({{'add': lambda x, y: print('GOT', x + y)}})",
        ("add", "1", "2"), {"Args/add": True, "Args/add/x": 1}, {"add/x": "5"}, "GOT 7",
    ),
    "fire, task within": Case(
        "fire", f"import fire\ndef f(n, name='a'):\n    {INIT.replace(chr(10), chr(10) + '    ')}\n    print('GOT', n, name)\nfire.Fire(f)",
        ("3",), {"Args/n": 3, "Args/name": "a"}, {"n": "4"}, "GOT 4 a",
    ),
    "fire, arguments named like its flags": Case(
        "fire", f"""{INIT}import argparse, fire
def train(lr=0.1, verbose=True, help=None, trace=True, interactive=True, separator=",", completion="x"):
    print("GOT", lr, verbose, help, trace, interactive, separator, completion)
fire.Fire(train)""",
        ("--lr", "0.5"), {"Args/lr": 0.5, "Args/trace": True, "Args/interactive": True, "Args/separator": ","},
        {"lr": "0.25", "separator": "-", "verbose": "false", "completion": "bash"},
        "GOT 0.25 False None True True - bash",
    ),
    "fire, arguments named like its flags, task within": Case(
        "fire", f"""import argparse, fire
def train(lr=0.1, trace=True, interactive=True):
    {INIT.replace(chr(10), chr(10) + '    ')}
    print("GOT", lr, trace, interactive)
fire.Fire(train)""",
        (), {"Args/lr": 0.1, "Args/trace": True, "Args/interactive": True}, {"lr": "0.25"}, "GOT 0.25 True True",
    ),
    "typer": Case(
        "typer", """import datetime, enum, pathlib, typer
from localtrack import Task
app = typer.Typer()
class Kind(str, enum.Enum):
    a = "a"; b = "b"
@app.command()
def train(lr: float = 0.1, kind: Kind = Kind.a, where: pathlib.Path = pathlib.Path("x"), sizes: list[int] = [1, 2], deep: bool = False,
          day: datetime.datetime = "2020-01-02", pair: tuple[int, str] = (1, "x")):
    Task.init("f", "n", reuse_last_task_id=False)
    print("GOT", lr, kind.value, where, sizes, deep, day.year, pair)
@app.command()
def test(n: int): pass
app()""",
        ("train", "--lr", "0.5"),
        {"Args/train": True, "Args/train/lr": 0.5, "Args/train/kind": "a", "Args/train/where": "x", "Args/train/sizes": [1, 2],
         "Args/train/deep": False, "Args/train/day": "2020-01-02", "Args/test": False, "Args/test/n": None},
        {"train/lr": "0.25", "train/kind": "b", "train/sizes": "[5]", "train/deep": "true", "train/where": "y",
         "train/day": "2021-03-04", "train/pair": "[3, 'z']"},
        "GOT 0.25 b y [5] True 2021 (3, 'z')",
    ),
    "jsonargparse": Case(
        "jsonargparse", f"""{INIT}from jsonargparse import ArgumentParser
from typing import Optional
parser = ArgumentParser()
parser.add_argument("--model.lr", type=float, default=0.1)
parser.add_argument("--model.layers", type=list[int], default=[1])
parser.add_argument("--seed", type=Optional[int])
parser.add_argument("--data", required=True)
args = parser.parse_args()
print("GOT", args.model.lr, args.model.layers, args.seed, args.data)""",
        ("--model.lr", "0.5", "--data", "d"),
        {"Args/model.lr": 0.5, "Args/model.layers": [1], "Args/seed": None, "Args/data": "d"},
        {"model.lr": "0.25", "model.layers": "[3, 4]", "seed": "7", "data": "e"}, "GOT 0.25 [3, 4] 7 e", (),
    ),
    "jsonargparse command line of a class": Case(
        "jsonargparse", f"""{INIT}from jsonargparse import CLI
class Main:
    def __init__(self, prize: int = 100): self.prize = prize
    def person(self, name: str): print("GOT", name, self.prize)
    def team(self, size: int = 3): print("GOT team", size, self.prize)
CLI(Main)""",
        ("person", "joe"), {"Args/subcommand": "person", "Args/person.name": "joe", "Args/prize": 100},
        {"Args/subcommand": "team", "Args/prize": "7"}, "GOT team 3 7",
    ),
    "absl": Case(
        "absl", f"""from absl import app, flags
FLAGS = flags.FLAGS
flags.DEFINE_float("lr", 0.1, "the step")
flags.DEFINE_list("names", ["a"], "")
flags.DEFINE_multi_integer("sizes", [1], "")
flags.DEFINE_bool("deep", False, "")
flags.DEFINE_string("data", None, "", required=True)
def main(argv):
    {INIT.replace(chr(10), chr(10) + '    ')}
    print("GOT", FLAGS.lr, FLAGS.names, FLAGS.sizes, FLAGS.deep, FLAGS.data)
app.run(main)""",
        ("--lr=0.5", "--sizes=3", "--sizes=4", "--data=d"),
        {"TF_DEFINE/lr": 0.5, "TF_DEFINE/names": ["a"], "TF_DEFINE/sizes": [3, 4], "TF_DEFINE/deep": False},
        {"lr": "0.25", "names": '["x", "y"]', "sizes": "[9]", "deep": "true", "TF_DEFINE/data": "e"},
        "GOT 0.25 ['x', 'y'] [9] True e", (),
    ),
    "absl, one flag of two names": Case(
        "absl", f"""from absl import app, flags
FLAGS = flags.FLAGS
flags.DEFINE_float("learning_rate", 0.1, "the step")
flags.DEFINE_alias("lr", "learning_rate")
flags.DEFINE_integer("batch_size", 8, "", short_name="b")
flags.DEFINE_integer("own", 1, "")
def main(argv):
    before = FLAGS.learning_rate, FLAGS.batch_size
    FLAGS.own = 5
    {INIT.replace(chr(10), chr(10) + '    ')}
    FLAGS(["script"])
    print("GOT", before, FLAGS.learning_rate, FLAGS.lr, FLAGS.batch_size, FLAGS.b, FLAGS.own)
app.run(main)""",
        (), {"TF_DEFINE/learning_rate": 0.1, "TF_DEFINE/lr": 0.1, "TF_DEFINE/b": 8},
        {"learning_rate": "0.5", "batch_size": "32"}, "GOT (0.5, 32) 0.5 0.5 32 32 5",
    ),
    "absl, the other name": Case(
        "absl", f"""{INIT}from absl import app, flags
FLAGS = flags.FLAGS
flags.DEFINE_float("learning_rate", 0.1, "the step")
flags.DEFINE_alias("lr", "learning_rate")
flags.DEFINE_integer("batch_size", 8, "", short_name="b")
def main(argv):
    print("GOT", FLAGS.learning_rate, FLAGS.lr, FLAGS.batch_size)
app.run(main)""",
        ("--lr=0.2",), {"TF_DEFINE/learning_rate": 0.2, "TF_DEFINE/lr": 0.2, "TF_DEFINE/b": 8},
        {"TF_DEFINE/lr": "0.5", "TF_DEFINE/b": "32"}, "GOT 0.5 0.5 32",
    ),
    "tyro": Case(
        "tyro", f"""{INIT}import dataclasses, tyro
@dataclasses.dataclass
class Optimiser:
    lr: float = 0.1
    betas: tuple[float, float] = (0.9, 0.99)
@dataclasses.dataclass(frozen=True)
class Config:
    name: str
    optimiser: Optimiser = dataclasses.field(default_factory=Optimiser)
    deep: bool = False
print("GOT", tyro.cli(Config))""",
        ("--name", "q", "--optimiser.lr", "0.5"),
        {"Args/name": "q", "Args/optimiser.lr": 0.5, "Args/optimiser.betas": [0.9, 0.99], "Args/deep": False},
        {"optimiser.lr": "0.25", "optimiser.betas": "[0.5, 0.6]", "deep": "true"},
        "GOT Config(name='q', optimiser=Optimiser(lr=0.25, betas=(0.5, 0.6)), deep=True)",
    ),
    "tyro function": Case(
        "tyro", f"{INIT}import tyro\ndef main(n: int, name: str = 'a') -> None:\n    print('GOT', n, name)\ntyro.cli(main)",
        ("--n", "3"), {"Args/n": 3, "Args/name": "a"}, {"n": "4", "name": "b"}, "GOT 4 b",
    ),
    "tyro function with a keyword": Case(
        "tyro", f"{INIT}import tyro\ndef main(lr: float = 0.1, *, epochs: int = 3):\n    return {{'acc': lr * epochs}}\n"
        "print('GOT', tyro.cli(main))",
        (), {"Args/lr": 0.1, "Args/epochs": 3}, {"lr": "0.5", "epochs": "4"}, "GOT {'acc': 2.0}",
        absent=("Args/acc",),
    ),
    "tyro within tyro": Case(
        "tyro", f"""{INIT}import dataclasses, tyro
@dataclasses.dataclass
class Inner:
    deep: int = 2
def main(n: int = 1):
    return {{"n": n + tyro.cli(Inner, args=[]).deep}}
print("GOT", tyro.cli(main))""",
        (), {"Args/n": 1, "Args/deep": 2}, {"n": "4", "deep": "5"}, "GOT {'n': 9}",
    ),
    "tyro commands of a dict": Case(
        "tyro", f"""{INIT}import tyro
def train(lr: float = 0.1, *, n: int = 1): print("GOT", lr, n)
def test(name: str): pass
tyro.extras.subcommand_cli_from_dict({{"train": train, "test": test}})""",
        ("train", "--n", "2"), {"Args/lr": 0.1, "Args/n": 2}, {"lr": "0.5", "Args/n": "3"}, "GOT 0.5 3",
    ),
    "tyro configurations to choose from": Case(
        "tyro", f"""{INIT}import dataclasses, tyro
@dataclasses.dataclass
class Config:
    lr: float = 0.1
    steps: int = 10
    warm: int = dataclasses.field(init=False)
    def __post_init__(self): self.warm = self.steps // 2
print("GOT", tyro.extras.overridable_config_cli({{"small": ("s", Config()), "big": ("b", Config(steps=100))}}))""",
        ("big",), {"Args/lr": 0.1, "Args/steps": 100}, {"steps": "40"}, "GOT Config(lr=0.1, steps=40, warm=20)",
        absent=("Args/warm",),
    ),
    "tyro union": Case(
        "tyro", f"""{INIT}import dataclasses, tyro, typing
@dataclasses.dataclass
class Train:
    lr: float = 0.1
@dataclasses.dataclass
class Test:
    name: str = "x"
print("GOT", tyro.cli(typing.Union[Train, Test]))""",
        ("train",), {"Args/lr": 0.1}, {"lr": "0.5"}, "GOT Train(lr=0.5)",
    ),
    "tyro class of its own": Case(
        "tyro", f"""{INIT}import tyro
class Plain:
    def __init__(self, a: int = 1, *more: int): print("GOT", a, more)
tyro.cli(Plain)""",
        ("--a", "3"), {"Args/a": 3}, {"a": "4"}, "GOT 4 ()",
    ),
    "tyro, a value that does not fit": Case(
        "tyro", f"""{INIT}import dataclasses, enum, tyro
class Kind(enum.Enum):
    A = 1; B = 2
@dataclasses.dataclass
class Config:
    kind: Kind = Kind.A
    some: set[int] = dataclasses.field(default_factory=lambda: {{2}})
    n: int = 1
    lr: float = 0.5
    def __post_init__(self):
        if self.lr > 1: raise ValueError("too fast")
print("GOT", tyro.cli(Config))""",
        ("--n", "3"), {"Args/kind": "A", "Args/some": [2], "Args/n": 3, "Args/lr": 0.5},
        {"kind": "GREEN", "some": "[4]", "n": "5", "lr": "7"},
        "GOT Config(kind=<Kind.A: 1>, some={4}, n=5, lr=0.5)",
    ),
    "draccus, a value that does not fit": Case(
        "draccus", f"""{INIT}import dataclasses, enum, draccus
class Kind(enum.Enum):
    A = "a"; B = "b"
@dataclasses.dataclass
class Config:
    kind: Kind = Kind.A
    n: int = 1
    twice: int = dataclasses.field(init=False)
    def __post_init__(self): self.twice = self.n * 2
@draccus.wrap()
def main(config: Config): print("GOT", config)
main()""",
        ("--n", "3"), {"Args/kind": "A", "Args/n": 3}, {"kind": "GREEN", "n": "5"},
        "GOT Config(kind=<Kind.A: 'a'>, n=5, twice=10)",
    ),
    "draccus": Case(
        "draccus", f"""{INIT}import dataclasses, draccus
@dataclasses.dataclass
class Optimiser:
    lr: float = 0.1
    sizes: list[int] = dataclasses.field(default_factory=lambda: [1, 2])
@dataclasses.dataclass
class Config:
    optimiser: Optimiser = dataclasses.field(default_factory=Optimiser)
    n: int = 3
@draccus.wrap()
def main(config: Config): print("GOT", config)
main()""",
        ("--optimiser.lr", "0.5"), {"Args/optimiser.lr": 0.5, "Args/optimiser.sizes": [1, 2], "Args/n": 3},
        {"optimiser.lr": "0.25", "n": "9"}, "GOT Config(optimiser=Optimiser(lr=0.25, sizes=[1, 2]), n=9)",
    ),
    "simple-parsing": Case(
        "simple_parsing", f"""{INIT}import dataclasses
from simple_parsing import ArgumentParser
@dataclasses.dataclass
class Optimiser:
    lr: float = 0.1
    sizes: list[int] = dataclasses.field(default_factory=lambda: [1, 2])
parser = ArgumentParser()
parser.add_arguments(Optimiser, "optimiser")
args = parser.parse_args()
print("GOT", args.optimiser)""",
        ("--lr", "0.5"), {"Args/optimiser.lr": 0.5, "Args/optimiser.sizes": [1, 2]},
        {"optimiser.lr": "0.25", "optimiser.sizes": "[5]"}, "GOT Optimiser(lr=0.25, sizes=[5])",
    ),
    "hydra": Case(
        "hydra", """import hydra
from hydra.core.config_store import ConfigStore
from localtrack import Task
store = ConfigStore.instance()
store.store(name="config", node={"defaults": ["_self_", {"db": "mysql"}], "lr": 0.1, "names": ["a"], "note": "x", "db": {}})
store.store(group="db", name="mysql", node={"port": 3306})
store.store(group="db", name="postgres", node={"port": 5432})
@hydra.main(config_path=None, config_name="config", version_base=None)
def main(config):
    Task.init("f", "n", reuse_last_task_id=False)
    print("GOT", config.lr, list(config.names), config.note, config.db.port, config.get("more"))
main()""",
        ("lr=0.5", "db=postgres", "+more=1"),
        {"Hydra/lr": 0.5, "Hydra/db": "postgres", "Hydra/more": 1, "Hydra/_allow_omegaconf_edit_": False},
        {"Hydra/lr": "0.25", "Hydra/db": "mysql", "Hydra/names": '["b", "c d"]', "Hydra/note": "it's, so"},
        "GOT 0.25 ['b', 'c d'] it's, so 3306 1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_arguments_are_recorded_and_fed_back(run: Run, clone: Callable[..., str], name: str) -> None:
    """What a script parses is in its task, in its own types; a clone that is changed gets the changes."""
    case = CASES[name]
    first = run(case.script, *case.argv, package=case.package)
    assert {key: value for key, value in first.values.items() if key in case.recorded} == case.recorded
    assert not set(case.absent) & set(first.values)
    unchanged = run(case.script, *case.argv, task_id=clone(first.record.id, {}))
    assert unchanged.lines == first.lines
    second = run(
        case.script, *(case.argv if case.again is None else case.again), task_id=clone(first.record.id, case.changes)
    )
    assert second.lines == [case.got]


MULTIRUN = """
import hydra, sys
from hydra.core.config_store import ConfigStore
from localtrack import Task
ConfigStore.instance().store(name="config", node={"lr": 0.1})
if "WHERE" == "outside":
    Task.init("f", "n", reuse_last_task_id=False)
@hydra.main(config_path=None, config_name="config", version_base=None)
def main(config):
    if "WHERE" == "inside":
        Task.init("f", "n")
    print("GOT", config.lr)
main()
"""


def test_a_multirun_is_a_task_a_job(run: Run, ctx: StoreContext, clone: Callable[..., str]) -> None:
    """``Task.init`` inside the application: each job of a sweep has its own task, and one of them runs again alone."""
    script = MULTIRUN.replace("WHERE", "inside")
    argv = ("--multirun", "lr=0.5,0.25,1")
    run(script, *argv, package="hydra")
    records = [tasks.read(ctx, row.id) for row in ctx.index.rows()]
    assert sorted(parameters.as_values(record)["Hydra/lr"] for record in records) == [0.25, 0.5, 1]
    assert {record.status for record in records} == {"completed"}
    chosen = next(record for record in records if parameters.as_values(record)["Hydra/lr"] == 0.25)
    assert run(script, *argv, task_id=clone(chosen.id, {})).lines == ["GOT 0.25"]
    assert run(script, *argv, task_id=clone(chosen.id, {"Hydra/lr": "0.75"})).lines == ["GOT 0.75"]


def test_a_task_around_a_multirun_runs_the_whole_again(run: Run, ctx: StoreContext, clone: Callable[..., str]) -> None:
    """``Task.init`` before the application: the sweep is one task, and its clone is the sweep again."""
    script = MULTIRUN.replace("WHERE", "outside")
    argv = ("--multirun", "lr=0.5,0.25")
    first = run(script, *argv, package="hydra")
    assert first.values["Hydra/lr"] == "0.5,0.25"
    assert run(script, *argv, task_id=clone(first.record.id, {"Hydra/lr": "1,2,3"})).lines == [
        "GOT 1",
        "GOT 2",
        "GOT 3",
    ]


def test_the_whole_configuration_may_be_edited(run: Run, ctx: StoreContext, clone: Callable[..., str]) -> None:
    """With ``_allow_omegaconf_edit_`` the stored configuration object takes the place of the composed one."""
    script = MULTIRUN.replace("WHERE", "inside")
    first = run(script, "lr=0.5", package="hydra")
    text = parameters.configuration_text(tasks.folder_of(ctx, first.record.id), first.record, "OmegaConf")
    assert text == "lr: 0.5\n"
    edited = clone(first.record.id, {"Hydra/_allow_omegaconf_edit_": "true"})
    change = parameters.with_configuration(
        ctx, tasks.folder_of(ctx, edited), "OmegaConf", "lr: 7\n", "OmegaConf YAML", ""
    )
    tasks.edit(ctx, edited, change, "configuration")
    assert run(script, "lr=0.5", task_id=edited).lines == ["GOT 7"]


LIGHTNING = f"""{INIT}
from pytorch_lightning.cli import LightningCLI
from pytorch_lightning.demos.boring_classes import BoringDataModule, DemoModel
cli = LightningCLI(DemoModel, BoringDataModule, run=True, trainer_defaults=dict(
    logger=False, limit_train_batches=1, limit_val_batches=0, max_epochs=1, enable_progress_bar=False, accelerator="cpu"), save_config_callback=None)
print("GOT", cli.trainer.max_epochs, cli.config.fit.model.learning_rate)
"""


def test_lightning_cli(run: Run, clone: Callable[..., str]) -> None:
    """LightningCLI's whole configuration is recorded by dotted names, changed ones reach trainer and model, the
    checkpoint is a model.
    """
    first = run(LIGHTNING, "fit", "--model.learning_rate=0.5", package="pytorch_lightning")
    assert first.values["Args/subcommand"] == "fit"
    assert first.values["Args/fit.model.learning_rate"] == 0.5
    assert first.values["Args/fit.trainer.max_epochs"] == 1
    assert first.lines == ["GOT 1 0.5"]
    assert [model["framework"] for model in first.record.output_models] == ["PyTorch"]
    changed = clone(first.record.id, {"fit.trainer.max_epochs": "2", "fit.model.learning_rate": "0.25"})
    assert run(LIGHTNING, "fit", "--model.learning_rate=0.5", task_id=changed).lines == ["GOT 2 0.25"]


@pytest.mark.parametrize("mark", ["mark_failed", "mark_stopped"])
def test_absl_flags_of_a_run_that_said_how_it_ended(run: Run, mark: str) -> None:
    """They are recorded at the end also then."""
    script = f"{INIT.replace('Task.init', 'task = Task.init')}from absl import flags\nflags.DEFINE_float('lr', 0.1, 'the step')\n"
    ran = run(f"{script}task.{mark}()\ntask.close()\n", package="absl", status=mark.removeprefix("mark_"))
    assert ran.values["TF_DEFINE/lr"] == 0.1


def test_absl_flags_that_nobody_parses_have_their_defaults(run: Run) -> None:
    """A program that defines flags, itself or through a library, and parses none has them in its task."""
    ran = run(f"{INIT}from absl import flags\nflags.DEFINE_float('lr', 0.1, 'the step')\n", package="absl")
    assert ran.values["TF_DEFINE/lr"] == 0.1
