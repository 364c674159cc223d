"""Each framework's saved and loaded files are models of the task, its training metrics curves."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from localtrack.services import reports, tasks
from localtrack.services.context import StoreContext
from tests.frameworks.conftest import Run

INIT = "from localtrack import Task\nTask.init('f', 'n', reuse_last_task_id=False, output_uri=URI)\n"
DATA = "import numpy as np\nX = np.random.default_rng(0).random((60, 4)); y = (X[:, 0] > 0.5).astype(int)\n"


@dataclass
class Case:
    """A script, the output and input models that it must leave by name, and its curves with their number of points."""

    package: str
    script: str
    framework: str
    saved: set[str]
    loaded: set[str]
    curves: dict[str, int]


CASES = {
    "torch": Case(
        "torch", f"""{INIT}import io, torch
m = torch.nn.Linear(2, 2)
torch.save(m.state_dict(), "a.pt"); torch.save(m, io.BytesIO()); torch.save(torch.zeros(2), "data.pt")
with open("b.pth", "wb") as f: torch.save(m.state_dict(), f)
torch.jit.save(torch.jit.script(m), "c.pt"); torch.jit.script(m).save("d.pt")
torch.load("a.pt"); torch.load("data.pt"); torch.jit.load("c.pt")""",
        "PyTorch", {"a", "b", "c", "d"}, {"a", "c"}, {},
    ),
    "safetensors": Case(
        "safetensors", f"""{INIT}import torch
from safetensors.torch import load_file, save_file
save_file({{"w": torch.zeros(2)}}, "w.safetensors"); load_file("w.safetensors")""",
        "PyTorch", {"w"}, {"w"}, {},
    ),
    "lightning": Case(
        "pytorch_lightning", f"""{INIT}import pytorch_lightning as pl
from pytorch_lightning.demos.boring_classes import BoringModel
def trainer(epochs): return pl.Trainer(max_epochs=epochs, limit_train_batches=2, limit_val_batches=0, logger=False,
    enable_progress_bar=False, enable_model_summary=False, accelerator="cpu")
trainer(1).fit(BoringModel()); trainer(2).fit(BoringModel(), ckpt_path="checkpoints/epoch=0-step=2.ckpt")""",
        "PyTorch", {"epoch=0-step=2", "epoch=1-step=4"}, {"epoch=0-step=2"}, {},
    ),
    "transformers": Case(
        "transformers", f"""{INIT}from transformers import BertConfig, BertModel
config = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=20)
BertModel(config).save_pretrained("bert"); BertModel.from_pretrained("bert")""",
        "PyTorch", {"bert"}, {"bert"}, {},
    ),
    "keras": Case(
        "keras", f"""{INIT}{DATA}import keras
from keras.models import load_model
m = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)]); m.compile("sgd", "mse")
m.fit(X, y, epochs=2, verbose=0, callbacks=[keras.callbacks.ModelCheckpoint("check.keras")])
m.save("m.keras"); m.save("old.h5"); m.save_weights("w.weights.h5"); m.load_weights("w.weights.h5"); load_model("m.keras")""",
        "Keras", {"check", "m", "old", "w.weights"}, {"m", "w.weights"}, {},
    ),
    "tensorflow": Case(
        "tensorflow", f"""{INIT}import tensorflow as tf
module = tf.Module(); module.w = tf.Variable(1.0)
tf.saved_model.save(module, "saved"); tf.saved_model.load("saved")
checkpoint = tf.train.Checkpoint(w=module.w); checkpoint.restore(checkpoint.save("ck/one"))""",
        "TensorFlow", {"saved", "one-1"}, {"saved", "one-1"}, {},
    ),
    "joblib": Case(
        "sklearn", f"""from joblib import dump, load
{INIT}{DATA}from sklearn.linear_model import LogisticRegression
m = LogisticRegression().fit(X, y); dump(m, "m.joblib"); dump(X, "x.joblib"); load("m.joblib")""",
        "ScikitLearn", {"m"}, {"m"}, {},
    ),
    "xgboost": Case(
        "xgboost", f"""{INIT}{DATA}import xgboost
d = xgboost.DMatrix(X, y)
b = xgboost.train({{"objective": "binary:logistic"}}, d, 5, evals=[(d, "train"), (d, "test")], verbose_eval=False)
b.save_model("b.json"); xgboost.Booster().load_model("b.json"); xgboost.cv({{}}, d, 2)
xgboost.XGBClassifier(n_estimators=3).fit(X, y, eval_set=[(X, y)], verbose=False).save_model("c.ubj")""",
        "XGBoost", {"b", "c"}, {"b"}, {"train|logloss": 5, "test|logloss": 5, "validation_0 - 1|logloss": 3},
    ),
    "lightgbm": Case(
        "lightgbm", f"""{INIT}{DATA}import lightgbm
d = lightgbm.Dataset(X, y)
b = lightgbm.train({{"objective": "binary", "verbose": -1}}, d, 5, valid_sets=[d])
b.save_model("b.txt"); lightgbm.Booster(model_file="b.txt")
from lightgbm import LGBMClassifier
LGBMClassifier(n_estimators=3, verbose=-1).fit(X, y, eval_set=[(X, y)])""",
        "LightGBM", {"b"}, {"b"}, {"training|binary_logloss": 5, "training - 1|binary_logloss": 3},
    ),
    "catboost": Case(
        "catboost", f"""{INIT}{DATA}import catboost
options = dict(verbose=0, allow_writing_files=False)
m = catboost.CatBoostClassifier(iterations=4, **options).fit(X, y, eval_set=(X, y))
m.save_model("m.cbm"); catboost.CatBoostClassifier().load_model("m.cbm")
catboost.CatBoost(dict(iterations=3, **options)).fit(X, y)
class Stop:
    def after_iteration(self, info): return info.iteration < 2
catboost.CatBoost(dict(iterations=5, **options)).fit(X, y, callbacks=[Stop()])""",
        "CatBoost", {"m"}, {"m"}, {"learn|Logloss": 4, "validation|Logloss": 4, "learn - 1|RMSE": 3, "learn - 2|RMSE": 2},
    ),
    "lightgbm by name": Case(
        "lightgbm", f"""from lightgbm import Dataset, early_stopping, train
{INIT}{DATA}
d = Dataset(X, y)
b = train({{"objective": "binary", "verbose": -1}}, d, 5, valid_sets=[d])
b.save_model("n.txt")
train({{"verbose": -1}}, Dataset(X, y), 3, valid_sets=[Dataset(X, y)], callbacks=[early_stopping(2)])""",
        "LightGBM", {"n"}, set(), {"training|binary_logloss": 5, "valid_0 - 1|l2": 3},
    ),
    "onnx": Case(
        "onnx", f"""{INIT}import onnx
from onnx import TensorProto, helper
x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
onnx.save(helper.make_model(helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])), "o.onnx")
onnx.load("o.onnx")""",
        "ONNX", {"o"}, {"o"}, {},
    ),
    "torch by name": Case(
        "torch", f"""from torch import load, save
from torch.jit import load as load_script, save as save_script
{INIT}import io, torch
m = torch.nn.Linear(2, 2)
save(m.state_dict(), "a.pt"); save(m, io.BytesIO()); save(torch.zeros(2), "data.pt")
with open("b.pth", "wb") as f: save(m.state_dict(), f)
save(m.state_dict(), "old.pt", _use_new_zipfile_serialization=False)
save_script(torch.jit.script(m), "c.pt")
load("a.pt"); load("old.pt"); load("data.pt"); load_script("c.pt")
try: save({{"a": lambda: 1}}, "fails.pt")
except Exception: pass""",
        "PyTorch", {"a", "b", "c", "old"}, {"a", "c", "old"}, {},
    ),
    "safetensors by name": Case(
        "safetensors", f"""from safetensors.torch import load_file, load_model, save_file, save_model
{INIT}import torch
m = torch.nn.Linear(2, 2)
save_file({{"w": torch.zeros(2)}}, "w.safetensors"); load_file("w.safetensors")
save_model(m, "m.safetensors"); load_model(m, "m.safetensors")""",
        "PyTorch", {"w", "m"}, {"w", "m"}, {},
    ),
    "safetensors of TensorFlow by name": Case(
        "tensorflow", f"""from safetensors.tensorflow import load_file, save_file
{INIT}import tensorflow as tf
save_file({{"w": tf.zeros(2)}}, "w.safetensors"); load_file("w.safetensors")""",
        "TensorFlow", {"w"}, {"w"}, {},
    ),
    "keras by name": Case(
        "keras", f"""from keras.models import load_model, save_model
from keras.saving import load_weights, save_weights
{INIT}import keras
m = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)]); m.compile("sgd", "mse")
save_model(m, "m.keras"); save_model(m, "old.h5"); m.save("own.keras"); save_weights(m, "w.weights.h5")
load_model("m.keras"); load_model("old.h5", compile=False); load_weights(m, "w.weights.h5")""",
        "Keras", {"m", "old", "own", "w.weights"}, {"m", "old", "w.weights"}, {},
    ),
    "tf.keras by name": Case(
        "tensorflow", f"""import tensorflow
from tensorflow.keras.models import load_model, save_model
{INIT}import keras
save_model(keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)]), "m.keras"); load_model("m.keras")""",
        "Keras", {"m"}, {"m"}, {},
    ),
    "onnx by name": Case(
        "onnx", f"""from onnx import load, save, save_tensor
{INIT}from onnx import TensorProto, helper
x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
save(helper.make_model(helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])), "o.onnx")
save_tensor(helper.make_tensor("t", TensorProto.FLOAT, [1], [1.0]), "t.pb")
load("o.onnx")""",
        "ONNX", {"o"}, {"o"}, {},
    ),
    "torch.onnx": Case(
        "onnx", f"""from torch.onnx import export
{INIT}import torch
inputs = (torch.zeros(1, 2),)
export(torch.nn.Linear(2, 2), inputs, "named.onnx", dynamo=False)
torch.onnx.export(torch.nn.Linear(2, 2), inputs, f="key.onnx", dynamo=False)""",
        "ONNX", {"named", "key"}, set(), {},
    ),
    "torch.onnx of programs": Case(
        "onnxscript", f"""from torch.onnx import export
{INIT}import torch
inputs = (torch.zeros(1, 2),)
export(torch.nn.Linear(2, 2), inputs, "named.onnx", external_data=False)
torch.onnx.export(torch.nn.Linear(2, 2), inputs).save("saved.onnx")""",
        "ONNX", {"named", "saved"}, set(), {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("is_copied", [False, True], ids=["by reference", "copied"])
@pytest.mark.parametrize("name", CASES)
def test_models_and_metrics_are_recorded(run: Run, ctx: StoreContext, name: str, is_copied: bool) -> None:
    """What is saved is an output model, by reference or as a copy in the store; what is loaded an input model; no more."""
    case = CASES[name]
    ran = run(case.script.replace("URI", str(is_copied)), package=case.package)
    saved = {entry["name"]: entry for entry in ran.record.output_models}
    assert set(saved) == case.saved
    assert {entry["framework"] for entry in saved.values()} == {case.framework}
    assert {entry["model_name"] for entry in saved.values()} == {f"n - {stem}" for stem in case.saved}
    assert {entry["name"] for entry in ran.record.input_models} == case.loaded
    assert {entry["id"] for entry in ran.record.input_models} <= {entry["id"] for entry in saved.values()}
    folder = tasks.folder_of(ctx, ran.record.id)
    for entry in saved.values():
        assert entry["size_bytes"] > 0
        if is_copied:
            assert (folder / entry["file"]).is_file()
        else:
            assert entry["url"].startswith("file:///")
    series = {
        f"{title}|{line}": len(points.values)
        for (title, line), points in reports.scalars(folder).series.items()
        if not title.startswith(":monitor:")
    }
    assert series == case.curves


RANKS = """
import os, sys, torch, torch.distributed as dist, torch.multiprocessing as mp
from localtrack import Task
def worker(rank, folder):
    dist.init_process_group("gloo", init_method="file://" + folder + "/meet", rank=rank, world_size=2)
    Task.init("f", "n")
    torch.save({"rank": rank}, f"rank{rank}.pt")
    dist.barrier()
if __name__ == "__main__":
    Task.init("f", "n", reuse_last_task_id=False)
    mp.spawn(worker, (os.getcwd(),), nprocs=2)
"""


def test_only_the_first_rank_records(run: Run) -> None:
    """Of spawned ranks that each save a file, rank zero's is recorded."""
    ran = run(RANKS, package="torch")
    assert [entry["name"] for entry in ran.record.output_models] == ["rank0"]
