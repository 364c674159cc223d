"""The logger for Lightning: what a real trainer reports through it, in which task, and that nothing comes twice."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from localtrack import Task
from localtrack.runtime import current
from tests.api.conftest import QUIET
from tests.frameworks.test_boosting_integrations import curves, only_task

pl = pytest.importorskip("pytorch_lightning")
torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("default")  # the framework's own


class Tiny(pl.LightningModule):  # type: ignore[misc]
    """One layer, four batches an epoch."""

    def __init__(self, lr: float = 0.1, fails_at: int = -1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(2, 1)
        self.data = torch.utils.data.DataLoader(torch.ones(4, 2))

    def training_step(self, batch: Any, index: int) -> Any:
        if self.global_step == self.hparams.fails_at:
            raise ValueError("no more")
        loss = self.layer(batch).pow(2).mean()
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("val_loss", self.layer(batch).pow(2).mean())

    def test_step(self, batch: Any, index: int) -> None:
        self.log("test_loss", self.layer(batch).pow(2).mean())

    def on_train_end(self) -> None:
        experiment = self.logger.experiment
        if isinstance(experiment, Task):
            experiment.get_logger().report_single_value("by hand", 7.0)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)

    def train_dataloader(self) -> Any:
        return self.data

    val_dataloader = test_dataloader = train_dataloader


def make(*args: Any, **options: Any) -> Any:
    """Return our logger."""
    from localtrack.integrations.lightning import LocaltrackLogger

    return LocaltrackLogger(*args, **{"init": QUIET, **options})


def trainer(logger: Any, epochs: int = 1, **options: Any) -> Any:
    """Return a trainer that says nothing."""
    return pl.Trainer(
        logger=logger, max_epochs=epochs, accelerator="cpu", devices=1, log_every_n_steps=1, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, **options,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def in_folder(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files of the trainer lie in the test's folder."""
    monkeypatch.chdir(tmp_path)


def test_logger_starts_and_closes_its_own_task() -> None:
    """fit, then test: one task, from the logger's arguments, with curves, hyper-parameters and what was reported by hand."""
    logger = make("vision/digits", "first")
    own = trainer(logger, epochs=2)
    model = Tiny()
    own.fit(model)
    assert current.get() is None
    assert only_task().status == "completed"
    own.test(model, verbose=False)
    task = only_task()
    assert (task.get_project_name(), task.name, task.status) == ("vision/digits", "first", "completed")
    found = curves(task)
    assert found["train/loss"] == list(range(8))
    assert found["val_loss/val_loss"] == [3, 7]
    assert found["test_loss/test_loss"] == [8]
    assert task.get_parameters(cast=True)["General/lr"] == 0.1
    assert task.get_reported_single_values() == {"by hand": 7.0}


def test_places_are_those_of_the_contract(tmp_path: Path) -> None:
    """save_dir, name and version make the folder of the checkpoints."""
    logger = make("vision", "first", save_dir=tmp_path / "kept")
    assert (logger.save_dir, logger.name, logger.version) == (str(tmp_path / "kept"), "vision", None)
    own = trainer(logger)
    own.fit(Tiny())
    task = only_task()
    assert (logger.name, logger.version) == ("vision", task.id)
    assert logger.log_dir == str(tmp_path / "kept" / "vision" / task.id)
    assert Path(own.checkpoint_callback.best_model_path).parent == Path(logger.log_dir) / "checkpoints"


@pytest.mark.parametrize(
    ("option", "names"), [(True, {"epoch=1-step=8"}), ("all", {"epoch=0-step=4", "epoch=1-step=8"})]
)
def test_checkpoints_are_kept_as_models(option: Any, names: set[str]) -> None:
    """True keeps what is left at the end, "all" every one, also where the trainer removed it since."""
    own = trainer(make("p", "n", log_model=option), epochs=2)
    own.fit(Tiny())
    models = {model.name: model for model in only_task().models["output"]}
    assert set(models) == {f"n - {name}" for name in names}
    best = models["n - epoch=1-step=8"]
    assert best.framework == "PyTorch"
    assert set(best.tags) == {"latest", "best"}
    assert "state_dict" in torch.load(best.get_local_copy(), weights_only=False)
    assert all(Path(model.get_local_copy()).exists() for model in models.values())


def test_only_the_current_checkpoints_are_latest_and_best() -> None:
    """Of all that were kept one is the latest and one the best, also in a second training; a tag of the user's stays."""
    logger = make("p", "n", log_model="all")
    callback = pl.callbacks.ModelCheckpoint(monitor="by_hand", save_top_k=2, save_last=True, filename="{epoch}")

    class Scored(Tiny):
        def on_validation_epoch_end(self) -> None:
            self.log("by_hand", [2.0, 1.0, 3.0, 0.5][self.current_epoch])

        def on_train_epoch_end(self) -> None:
            for model in self.logger.experiment.models["output"]:
                model.tags = [*model.tags, "mine"] if "mine" not in model.tags else model.tags

        def on_train_end(self) -> None:
            found.update({model.name: set(model.tags) - {"mine"} for model in self.logger.experiment.models["output"]})

    found: dict[str, set[str]] = {}
    own = trainer(logger, epochs=3, callbacks=[callback])
    own.fit(Scored())
    assert found == {"n - epoch=0": set(), "n - epoch=1": {"best"}, "n - last": {"latest"}}
    again = trainer(logger, epochs=4, callbacks=[callback])
    again.fit(Scored(), ckpt_path=callback.last_model_path)
    assert found == {"n - epoch=0": set(), "n - epoch=1": set(), "n - epoch=3": {"best"}, "n - last": {"latest"}}
    assert all("mine" in model.tags for model in only_task().models["output"] if model.name[-1] in "01")


@pytest.mark.parametrize(("option", "count"), [(None, 1), (True, 1), ("all", 1), (False, 0)])
def test_explicit_and_automatic_record_nothing_twice(start: Any, tmp_path: Path, option: Any, count: int) -> None:
    """Beside a TensorBoard logger in a captured run: each curve, parameter and model once; afterwards all is captured again."""
    task = start(auto_connect_frameworks=True)
    board = pl.loggers.TensorBoardLogger(tmp_path / "board")
    own = trainer([board, make(log_model=option)])
    own.fit(Tiny())
    board.experiment.add_scalar("by/hand", 1.0, 3)
    found = curves(task)
    assert found == {
        "train/loss": [0, 1, 2, 3], "val_loss/val_loss": [3], "epoch/epoch": [0, 1, 2, 3, 3], "by/hand": [3],
    }  # fmt: skip
    assert [name for name in task.get_parameters() if name.endswith("/lr")] == ["General/lr"]
    assert task.status == "in_progress"
    trainer(pl.loggers.TensorBoardLogger(tmp_path / "second")).fit(Tiny(lr=0.2))
    task.close()
    again = curves(task)
    assert any("second" in name or len(steps) > 4 for name, steps in again.items() if "loss" in name)
    assert task.get_parameters(cast=True)["TB_hparams/lr"] == 0.2
    assert [text for text in task.capture_errors if "binding" in text] == []
    assert len(task.models["output"]) == count + 1


def test_resumed_training_appends() -> None:
    """Another process's logger, given the task's id and a checkpoint, goes on in the same curves."""
    first = make("p", "n")
    own = trainer(first)
    own.fit(Tiny())
    second = trainer(make("p", "n", task_id=first.version), epochs=2)
    second.fit(Tiny(), ckpt_path=own.checkpoint_callback.best_model_path)
    task = only_task()
    assert curves(task)["train/loss"] == list(range(8))
    assert [change["to"] for change in task.status_history][-2:] == ["in_progress", "completed"]


def test_resumed_training_in_a_continued_task_appends(start: Any) -> None:
    """In a task that the script continues, Lightning's own steps go on: no offset is added to them."""
    start().close()
    task = start(continue_last_task=100)
    trainer(make()).fit(Tiny())
    assert curves(task)["train/loss"] == [0, 1, 2, 3]


def test_failed_training_fails_the_task_that_was_started_for_it() -> None:
    """What the training raises reaches the script, and the logger's own task says so."""
    with pytest.raises(ValueError, match="no more"):
        trainer(make("p", "n")).fit(Tiny(fails_at=2))
    task = only_task()
    assert task.status == "failed"
    assert "ValueError: no more" in (task.get_status_message() or "")


def test_second_logger_has_a_second_task() -> None:
    """Two loggers in one process have two tasks."""
    for _ in range(2):
        trainer(make("p", "n")).fit(Tiny())
    assert len(Task.get_tasks()) == 2


def test_logger_without_a_trainer(root: Path) -> None:
    """Metrics, a prefix, parameters in a Namespace with values that are no data, and what is no number."""
    logger = make("p", "n", prefix="a")
    logger.log_metrics({"b": torch.tensor(1.5), "c": "text"}, step=3)
    logger.log_hyperparams(Namespace(lr=0.1, nested={"x": 1}, function=len), {"score": 2.0})
    copy = pickle.loads(pickle.dumps(logger))
    assert copy.version == logger.version
    logger.finalize("success")
    task = only_task()
    assert curves(task) == {"a-b/a-b": [3]}
    assert task.get_parameters(cast=True) == {"General/lr": 0.1, "General/nested/x": 1}
    assert task.get_reported_single_values() == {"score": 2.0}


def test_other_ranks_start_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a rank other than zero the experiment does nothing, and there is no version."""
    from pytorch_lightning.utilities.rank_zero import rank_zero_only

    logger = make("p", "n")
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger.experiment.get_logger()
    logger.log_metrics({"a": 1.0})
    logger.finalize("success")
    assert logger.version is None
    assert Task.get_tasks() == []


@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn"])
def test_two_ranks_leave_one_task(ctx: Any, tmp_path: Path, strategy: str) -> None:
    """Of two ranks, started as scripts or spawned, the first alone reports: one task, each point and checkpoint once."""
    script = tmp_path / "script.py"
    script.write_text(
        "from tests.frameworks.test_lightning_integration import Tiny, make, pl\n"
        "if __name__ == '__main__':\n"
        f"    t = pl.Trainer(logger=make('p', 'ranks', log_model=True), max_epochs=1, accelerator='cpu', devices=2,\n"
        f"        strategy='{strategy}', log_every_n_steps=1, enable_progress_bar=False, enable_model_summary=False)\n"
        "    t.fit(Tiny())\n"
    )
    env = {**os.environ, "LOCALTRACK_ROOT": str(ctx.store.root), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    task = only_task()
    assert (task.name, task.status) == ("ranks", "completed")
    assert curves(task)["train/loss"] == [0, 1]
    assert [model.name for model in task.models["output"]] == ["ranks - epoch=0-step=2"]


def test_wrong_log_model_is_refused() -> None:
    """The message says what there is."""
    with pytest.raises(ValueError, match="True, False, 'all' or None"):
        make(log_model="some")


@pytest.mark.parametrize(
    ("package", "other"), [("lightning.pytorch", "pytorch_lightning"), ("pytorch_lightning", "lightning.pytorch")]
)
def test_either_package_of_lightning(run: Any, ctx: Any, package: str, other: str) -> None:
    """The logger serves the trainer of either package, whichever of them was imported before it, with nothing twice."""
    pytest.importorskip("lightning.pytorch")
    ran = run(
        f"""
        import {other}
        from localtrack.integrations.lightning import LocaltrackLogger
        import importlib
        pl = importlib.import_module("{package}")
        demos = importlib.import_module("{package}.demos.boring_classes")
        class Model(demos.BoringModel):
            def training_step(self, batch, index):
                out = super().training_step(batch, index)
                self.log("train/loss", out["loss"])
                return out
        own = pl.Trainer(logger=[pl.loggers.TensorBoardLogger("board"), LocaltrackLogger("p", "either")], max_epochs=1,
            limit_train_batches=3, limit_val_batches=0, log_every_n_steps=1, accelerator="cpu", enable_progress_bar=False,
            enable_model_summary=False)
        own.fit(Model())
        """,
        package="pytorch_lightning",
    )
    task = Task.get_task(task_id=ran.record.id)
    assert task is not None
    assert curves(task)["train/loss"] == [0, 1, 2]
    assert len(task.models["output"]) == 1


def test_command_line_of_lightning(root: Path, tmp_path: Path) -> None:
    """LightningCLI makes the logger from arguments, and keeps its configuration in the logger's folder, also a second time."""
    pytest.importorskip("jsonargparse")
    from pytorch_lightning.cli import LightningCLI

    logger = "--trainer.logger=localtrack.integrations.lightning.LocaltrackLogger"
    names = ["--trainer.logger.project=p", "--trainer.logger.name=cli", "--trainer.logger.log_model=all"]
    quiet = {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False}
    for _ in range(2):
        LightningCLI(
            Tiny, args=["fit", logger, *names, f"--trainer.logger.init={json.dumps(QUIET)}"],
            save_config_kwargs={"overwrite": True}, trainer_defaults=quiet,
        )  # fmt: skip
    tasks = Task.get_tasks()
    assert [(task.name, task.status, len(task.models["output"])) for task in tasks] == [("cli", "completed", 1)] * 2
    assert (tmp_path / "lightning_logs" / "config.yaml").exists()
