"""Every binding keeps to what a binding keeps to, with its own framework."""

from __future__ import annotations

import dataclasses
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localtrack import Task
from localtrack.bindings import model_hooks
from localtrack.testing.bindings import BindingContract

fire = pytest.importorskip("fire")
pytestmark = pytest.mark.filterwarnings("default")  # the frameworks' own
SIZE = iter(range(10**6))
X = np.random.default_rng(0).random((40, 3))
Y = (X[:, 0] > 0.5).astype(int)


class ParserContract(BindingContract):
    """A binding that records parameters."""

    reports_fail_visibly = False

    def count(self, task: Task) -> int:
        """Return how many parameters there are."""
        return len(task.get_parameters())


class TestFire(ParserContract):
    """Fire."""

    binding = "localtrack.bindings.fire"

    def use(self, folder: Path) -> None:
        """Call a function."""
        fire.Fire(lambda n: n, command=["3"], serialize=lambda value: "")


class TestJsonargparse(ParserContract):
    """jsonargparse."""

    binding = "localtrack.bindings.jsonargparse"

    def use(self, folder: Path) -> None:
        """Parse."""
        from jsonargparse import ArgumentParser

        parser = ArgumentParser()
        parser.add_argument("--n", type=int)
        parser.parse_args(["--n", "3"])


class TestAbsl(ParserContract):
    """absl flags."""

    binding = "localtrack.bindings.absl"

    def use(self, folder: Path) -> None:
        """Parse."""
        from absl import flags

        values = flags.FlagValues()
        flags.DEFINE_integer("n", 1, "", flag_values=values)
        values(["program", "--n=3"])


@dataclasses.dataclass
class Config:
    """What tyro and draccus fill."""

    n: int = 1


class TestTyro(ParserContract):
    """tyro."""

    binding = "localtrack.bindings.tyro"

    def use(self, folder: Path) -> None:
        """Parse."""
        import tyro

        assert tyro.cli(Config, args=["--n", "3"]).n == 3


class TestDraccus(ParserContract):
    """draccus."""

    binding = "localtrack.bindings.draccus"

    def use(self, folder: Path) -> None:
        """Parse."""
        import draccus

        assert draccus.parse(Config, args=["--n", "3"]).n == 3


class TestHydra(ParserContract):
    """Hydra."""

    binding = "localtrack.bindings.hydra"

    def use(self, folder: Path) -> None:
        """Run an application."""
        import hydra
        from hydra.core.config_store import ConfigStore

        ConfigStore.instance().store(name="contract", node={"lr": 0.1})

        @hydra.main(config_path=None, config_name="contract", version_base=None)
        def main(config: Any) -> None:
            assert config.lr == 0.5

        argv = sys.argv
        sys.argv = ["program", "lr=0.5", f"hydra.run.dir={folder}"]
        try:
            main()
        finally:
            sys.argv = argv


class ModelContract(BindingContract):
    """A binding that records model files."""

    reports_fail_visibly = False

    def save(self, path: Path) -> None:
        """Save a model."""
        raise NotImplementedError

    def use(self, folder: Path) -> None:
        """Save a model, and wait until it is recorded."""
        before = _recorded()
        self.save(folder / f"model{next(SIZE)}")
        deadline = time.monotonic() + 20
        while before >= 0 and _recorded() <= max(before, 0) and time.monotonic() < deadline:
            time.sleep(0.05)

    def count(self, task: Task) -> int:
        """Return how many models there are."""
        return len(task.models["output"])


def _recorded() -> int:
    """Return how many files the run of this process has recorded; -1 when there is no run."""
    from localtrack.runtime import current

    session = current.get()
    if session is None:
        return -1
    known = model_hooks._known
    return len(known[1]._recorded.ids) if known is not None and known[0] is session else 0


class TestTorch(ModelContract):
    """PyTorch."""

    binding = "localtrack.bindings.torch"

    def save(self, path: Path) -> None:
        """Save a state."""
        import torch

        torch.save({"w": torch.zeros(2)}, path.with_suffix(".pt"))


class TestSafetensors(ModelContract):
    """safetensors."""

    binding = "localtrack.bindings.safetensors"

    def save(self, path: Path) -> None:
        """Save tensors."""
        import safetensors.numpy

        safetensors.numpy.save_file({"w": np.zeros(2)}, path.with_suffix(".safetensors"))


class TestLightning(ModelContract):
    """Lightning's checkpoints."""

    binding = "localtrack.bindings.lightning"

    def save(self, path: Path) -> None:
        """Save a checkpoint."""
        import lightning_fabric.plugins.io.torch_io as torch_io

        torch_io.TorchCheckpointIO().save_checkpoint({"w": 1}, path.with_suffix(".ckpt"))


class TestTransformers(ModelContract):
    """transformers."""

    binding = "localtrack.bindings.transformers"

    def save(self, path: Path) -> None:
        """Save a small model."""
        from transformers import BertConfig, BertModel

        config = BertConfig(
            hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=20
        )
        BertModel(config).save_pretrained(path)


class TestAccelerate(ModelContract):
    """accelerate."""

    binding = "localtrack.bindings.accelerate"

    def save(self, path: Path) -> None:
        """Save the state of nothing but the random number generators."""
        from accelerate import Accelerator

        Accelerator(cpu=True).save_state(path)


class TestKeras(ModelContract):
    """Keras."""

    binding = "localtrack.bindings.keras"

    def save(self, path: Path) -> None:
        """Save a small model."""
        import keras

        keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)]).save(path.with_suffix(".keras"))


class TestTensorflow(ModelContract):
    """TensorFlow."""

    binding = "localtrack.bindings.tensorflow"

    def save(self, path: Path) -> None:
        """Save a module."""
        import tensorflow as tf

        tf.saved_model.save(tf.Module(), str(path))


class TestOnnx(ModelContract):
    """ONNX."""

    binding = "localtrack.bindings.onnx"

    def save(self, path: Path) -> None:
        """Save a graph."""
        import onnx
        from onnx import TensorProto, helper

        x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
        graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
        onnx.save(helper.make_model(graph), path.with_suffix(".onnx"))


class TestPickle(ModelContract):
    """pickle."""

    binding = "localtrack.bindings.pickle"
    options = {"pickle": True}

    def save(self, path: Path) -> None:
        """Save an estimator."""
        import pickle

        from sklearn.linear_model import LinearRegression

        with path.open("wb") as stream:
            pickle.dump(LinearRegression(), stream)

    def test_import_loads_no_framework(self) -> None:
        """Everything loads pickle."""


class BoosterContract(BindingContract):
    """A binding that records metrics."""

    def count(self, task: Task) -> int:
        """Return how many curves there are."""
        return len([title for title in task.get_reported_scalars() if not title.startswith(":")])


class TestXgboost(BoosterContract):
    """XGBoost."""

    binding = "localtrack.bindings.xgboost"

    def use(self, folder: Path) -> None:
        """Train."""
        import xgboost

        data = xgboost.DMatrix(X, Y)
        xgboost.train({}, data, 2, evals=[(data, "train")], verbose_eval=False)


class TestLightgbm(BoosterContract):
    """LightGBM."""

    binding = "localtrack.bindings.lightgbm"

    def use(self, folder: Path) -> None:
        """Train."""
        import lightgbm

        data = lightgbm.Dataset(X, Y)
        lightgbm.train({"verbose": -1}, data, 2, valid_sets=[data])


class TestCatboost(BoosterContract):
    """CatBoost."""

    binding = "localtrack.bindings.catboost"

    def use(self, folder: Path) -> None:
        """Train."""
        import catboost

        catboost.CatBoostRegressor(iterations=2, verbose=0, allow_writing_files=False).fit(X, Y)


@pytest.mark.skipif(find_spec("fastai") is None, reason="fastai is not installed")
class TestFastai(BoosterContract):
    """fastai."""

    binding = "localtrack.bindings.fastai"

    def use(self, folder: Path) -> None:
        """Train."""
        import fastai.callback.progress  # noqa: F401  (gives learners no_bar)
        import torch
        from fastai.data.core import DataLoaders
        from fastai.learner import Learner

        rows = list(zip(torch.rand(8, 2), torch.rand(8, 1), strict=True))
        data = DataLoaders.from_dsets(rows, rows, bs=4, device="cpu")
        learner = Learner(data, torch.nn.Linear(2, 1), loss_func=torch.nn.MSELoss())
        with learner.no_bar(), learner.no_logging():
            learner.fit(1)


class TestTfSummary(BoosterContract):
    """tf.summary."""

    binding = "localtrack.bindings.tf_summary"
    reports_fail_visibly = False  # scalars go to the journal itself

    def use(self, folder: Path) -> None:
        """Write a scalar."""
        import tensorflow as tf

        with tf.summary.create_file_writer(str(folder)).as_default():
            tf.summary.scalar("loss", 0.5, step=next(SIZE))
