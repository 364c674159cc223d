"""Libraries that report to ClearML report to localtrack, unchanged; what they call arrives in the store.

Each test runs a script of ``scripts/`` in an environment of ``requirements.txt``, without clearml and without a network.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from localtrack.agent.loop import Agent, AgentOptions
from localtrack.services import lifecycle, parameters, reports, tasks

from .conftest import ENVIRONMENT, SCRIPTS

pytestmark = pytest.mark.timeout(300)


def test_the_real_clearml_is_not_here() -> None:
    """Nothing below can have reported to the real one."""
    assert importlib.util.find_spec("clearml") is None


class TestTransformers:
    """transformers' ClearMLCallback, in a Trainer."""

    def test_a_run_of_its_own(self, arrive, tmp_path):
        """Without a task it starts one: arguments, the model's configuration, scalars, and the checkpoint that is kept."""
        arrived = arrive("transformers_trainer.py", str(tmp_path / "out"))
        record = arrived.record
        assert (record.project, record.name, record.status) == ("HuggingFace Transformers", "Trainer", "completed")
        assert arrived.values["Transformers/learning_rate"] == 0.01
        assert arrived.values["Transformers/max_steps"] == 4
        assert arrived.values["Transformers/_ignore_hparams_ui_overrides_"] is True
        assert arrived.configuration("Model Configuration")["hidden_size"] == 8
        assert arrived.titles["eval"] >= {"loss", "runtime"}
        assert [step for step, _ in arrived.series("train", "loss")] == [1, 2, 3, 4]
        assert [step for step, _ in arrived.series("eval", "loss")] == [2, 4]
        assert set(arrived.summary) >= {"train_runtime", "train_loss", "epoch"}
        model = arrived.model()  # the older one went with save_total_limit
        assert model.name == "checkpoint-4"
        names = {Path(file).name for file in model.get_weights_package()}
        assert names >= {"config.json", "trainer_state.json", "model.safetensors"}

    def test_inside_a_task(self, arrive, tmp_path):
        """In a task that runs already it reports to that one, leaves it open, and keeps no checkpoints unless asked."""
        arrived = arrive("transformers_in_a_task.py", str(tmp_path / "out"))
        assert (arrived.record.project, arrived.record.name) == ("own", "task")
        assert arrived.series("after", "training") == [(0, 1.0)]
        assert [step for step, _ in arrived.series("train", "loss")] == [1, 2, 3, 4]
        assert arrived.record.output_models == ()

    def test_inside_a_task_with_models(self, arrive, tmp_path):
        """CLEARML_LOG_MODEL asks for the checkpoints."""
        arrived = arrive("transformers_in_a_task.py", str(tmp_path / "out"), CLEARML_LOG_MODEL="true")
        assert [model["name"] for model in arrived.record.output_models] == ["checkpoint-4"]

    def test_under_an_agent(self, arrive, tmp_path, monkeypatch):
        """A clone runs as clearml again, and its changed arguments reach the Trainer when it is told not to ignore them."""
        repository = tmp_path / "repository"
        shutil.copytree(SCRIPTS, repository, ignore=shutil.ignore_patterns("__pycache__"))
        for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "scripts"]):
            subprocess.run(["git", *command], cwd=repository, check=True)
        arrived = arrive(str(repository / "transformers_in_a_task.py"), str(tmp_path / "out"))
        clone = tasks.clone(arrived.ctx, arrived.record.id)
        changed = [("Transformers/learning_rate", "0.5"), ("Transformers/_ignore_hparams_ui_overrides_", "false")]
        tasks.edit(arrived.ctx, clone.id, lambda record: parameters.override(record, changed), "set")
        lifecycle.enqueue(arrived.ctx, clone.id, "default")
        said: list[str] = []
        for name, value in ENVIRONMENT.items():
            monkeypatch.setenv(name, value)
        Agent(arrived.ctx, AgentOptions(drain=True, workdir=tmp_path / "workspaces"), said.append).run()
        ran = tasks.read(arrived.ctx, clone.id)
        assert ran.status == "completed", said
        assert "learning rate 0.5" in {line.text for line in reports.console(tasks.folder_of(arrived.ctx, clone.id))}
        assert ran.script["as_clearml"] is True


def test_accelerate(arrive):
    """Accelerate's tracker: configuration, scalars by prefix, single values, images and tables."""
    arrived = arrive("accelerate_tracker.py")
    assert (arrived.record.project, arrived.record.name, arrived.record.status) == (
        "accelerated",
        "accelerated",
        "completed",
    )
    assert arrived.record.tags == ("tiny",)
    assert arrived.configuration("General") == {"lr": 0.1, "layers": [8, 8]}
    assert arrived.series("loss", "train") == [(0, 1.0), (1, 0.5), (2, 1 / 3)]
    assert arrived.series("accuracy", "eval") == [(0, 0.0), (1, 0.25), (2, 0.5)]
    assert arrived.series("speed", "train") == [(0, 0.0), (1, 1.0), (2, 2.0)]
    assert arrived.summary == {"best": 0.5}
    assert arrived.media == {("pictures", "eval", 2)}
    assert set(arrived.plots) == {("rows", "train", 2), ("frame", "train", 2)}
    assert "é" in json.dumps(arrived.plots["frame", "train", 2], ensure_ascii=False)


def test_ignite(arrive, tmp_path):
    """Ignite's logger with all its handlers and its saver: scalars, histograms of weights and gradients, checkpoints."""
    arrived = arrive("ignite_handlers.py", str(tmp_path / "checkpoints"))
    assert (arrived.record.project, arrived.record.name, arrived.record.status) == ("ignited", "linear", "completed")
    assert [step for step, _ in arrived.series("training", "loss")] == [1, 2, 3, 4, 5, 6]
    assert [step for step, _ in arrived.series("validation", "mse")] == [1, 2]
    assert [value for _, value in arrived.series("lr", "0")] == [0.05] * 6
    for kind in ("weights_norm", "grads_norm"):
        assert [step for step, _ in arrived.series(f"{kind}/0", "weight")] == [1, 2]
    histograms = {(title, series) for title, series, _ in arrived.plots}
    assert histograms == {
        (f"{what}_{layer}", part) for what in ("weights", "grads") for layer in "01" for part in ("weight", "bias")
    }
    bars = arrived.plots["weights_0", "weight", 2]["figure"]["data"][0]
    assert sum(bars["y"]) == 6
    assert "through the logger's own methods" in arrived.console
    assert "Can not find artifact nothing by that name" in arrived.console
    (checkpoint,) = (tmp_path / "checkpoints").iterdir()
    model = arrived.model()  # the second checkpoint took the place of the first, as the saver's callbacks say
    assert (model.name, model.framework) == (f"linear: {checkpoint.name}", "PyTorch")
    assert "priority=2" in model.comment
    stored = Path(model.get_local_copy())
    assert stored.name == "model_0.pt"
    assert stored.read_bytes() == checkpoint.read_bytes()


def test_ultralytics(arrive, tmp_path):
    """A YOLO trained for two epochs: arguments, scalars, single values, samples, figures and the best model."""
    arrived = arrive("ultralytics_yolo.py", str(tmp_path / "data"))
    record = arrived.record
    assert (record.project, record.name, record.tags, record.status) == ("runs", "tiny", ("Ultralytics",), "completed")
    assert (arrived.values["General/epochs"], arrived.values["General/imgsz"]) == (2, 64)
    assert [step for step, _ in arrived.series("train", "train/box_loss")] == [0, 1]
    assert {"lr", "metrics", "val", "Epoch Time"} <= set(arrived.titles)
    assert "model/parameters" in arrived.summary
    assert "metrics/mAP50(B)" in arrived.summary
    assert {"Mosaic", "Validation"} <= {title for title, _, _ in arrived.media}
    assert {"results", "confusion_matrix"} <= {title for title, _, _ in arrived.plots}
    (best,) = tmp_path.rglob("weights/best.pt")
    assert arrived.model().name == "tiny"
    assert Path(arrived.model().get_local_copy()).read_bytes() == best.read_bytes()


def test_monai(arrive, tmp_path):
    """MONAI's handlers start the task and share it; numbers and pictures go to TensorBoard, where they are captured."""
    arrived = arrive("monai_handlers.py", str(tmp_path / "board"))
    assert (arrived.record.project, arrived.record.name, arrived.record.status) == (
        "monai/handlers",
        "stats",
        "completed",
    )
    assert arrived.record.tags == ("tiny",)
    assert [step for step, _ in arrived.series("loss", "loss")] == [1, 2, 3, 4]
    assert {step for _, _, step in arrived.media} == {1, 2}
    assert len(arrived.media) == 6
    assert any((tmp_path / "board").iterdir())


def test_mmengine(arrive, tmp_path):
    """Mmengine's visualizer: configuration, scalars of every kind of number, an image, the files of its folder."""
    arrived = arrive("mmengine_visualizer.py", str(tmp_path / "work"))
    assert (arrived.record.project, arrived.record.name, arrived.record.status) == ("mm", "engine", "completed")
    assert arrived.configuration("General")["model"] == {"depth": 2}
    assert arrived.series("mAP", "mAP") == [(0, 0.0), (1, 0.25), (2, 0.5)]
    assert arrived.series("loss", "loss")[:2] == [(0, 1.0), (1, 0.5)]
    assert arrived.series("lr", "lr") == [(step, 0.5) for step in range(3)]
    assert arrived.media == {("picture", "picture", 2)}
    assert arrived.record.artifacts["config.py"]["size_bytes"] == len("lr = 0.1\n")


def test_langchain(arrive):
    """langchain-community's callback: each step as text, the tables of a session, the chain as a model."""
    arrived = arrive("langchain_callback.py")
    record = arrived.record
    assert (record.project, record.name, record.type, record.status) == ("langchain", "chain", "inference", "completed")
    assert "what is the answer?" in arrived.console
    assert "the answer is 42" in arrived.console
    assert {(title, series) for title, series, _ in arrived.plots} == {
        ("Action Records", "talk"),
        ("Session Analysis", "talk"),
    }
    assert json.loads(Path(arrived.model().get_local_copy()).read_text())["responses"] == ["the answer is 42", "no"]


def test_nemo(arrive, tmp_path):
    """The calls of NeMo's logger: a configuration, scalars, a table, a packed model with its design and metadata."""
    weights = tmp_path / "speech.nemo"
    arrived = arrive("nemo_calls.py", str(weights))
    assert "GOT True speech" in arrived.stdout
    assert arrived.record.status == "completed"
    assert arrived.configuration("hparams") == {"optim": {"lr": 0.1}}
    assert arrived.series("train", "loss") == [(0, 1.0), (1, 0.5)]
    assert set(arrived.plots) == {("speech", "summary", 0)}
    model = arrived.model()
    assert (model.name, model.framework, model.tags, model.config_text) == ("speech", "NeMo", ["tiny"], "layers: 2\n")
    assert model.get_all_metadata_casted() == {"epoch": 2}
    assert [Path(file).name for file in model.get_weights_package()] == ["weights.ckpt"]
    assert weights.exists()


def test_verl(arrive):
    """The calls of verl's tracking, which continues a task that is not there yet."""
    arrived = arrive("verl_calls.py")
    assert (arrived.record.project, arrived.record.name, arrived.record.status) == ("verl", "ppo", "completed")
    assert arrived.configuration("Hyperparameters") == {"actor": {"lr": 1e-6}}
    assert arrived.series("critic", "score/mean") == [(0, 0.0), (1, 0.5)]
    assert set(arrived.plots) == {("Validation generations", "Epoch 1", 1)}
