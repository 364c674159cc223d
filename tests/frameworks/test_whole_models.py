"""Models that are several files: what is stored of them is whole, and each is one model."""

from __future__ import annotations

import zipfile

import pytest

from localtrack.services import tasks
from localtrack.services.context import StoreContext
from tests.frameworks.conftest import Ran, Run

INIT = "from localtrack import Task\nTask.init('f', 'n', reuse_last_task_id=False, output_uri=True)\n"
TRAINER = """import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments
config = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=20)
rows = [{"input_ids": torch.tensor([1, 2]), "labels": torch.tensor(0)}] * 4
options = TrainingArguments("out", max_steps=2, save_steps=1, per_device_train_batch_size=2, report_to="none", use_cpu=True)
trainer = Trainer(BertForSequenceClassification(config), options, train_dataset=rows)
"""
TRAIN = "trainer.train(); trainer.save_model('final'); trainer.model.save_pretrained('plain')\n"
ACCELERATE = """import torch
from accelerate import Accelerator
accelerator = Accelerator(cpu=True)
net = torch.nn.Linear(2, 2)
net, optimizer = accelerator.prepare(net, torch.optim.SGD(net.parameters(), 0.1))
accelerator.save_state("state"); accelerator.save_model(net, "model"); accelerator.load_state("state")
accelerator.save(net.state_dict(), "one.pt")
named = Accelerator(cpu=True, project_dir=".")
named.project_configuration.automatic_checkpoint_naming = True
named.save_state()
"""


def stored(ctx: StoreContext, ran: Ran) -> dict[str, set[str]]:
    """Return the names of the files in each stored model; of one that is a file itself its name."""
    folder = tasks.folder_of(ctx, ran.record.id)
    found = {}
    for entry in ran.record.output_models:
        path = folder / entry["file"]
        found[entry["name"]] = set(zipfile.ZipFile(path).namelist()) if path.suffix == ".zip" else {path.name}
    return found


@pytest.mark.parametrize(
    "script", [INIT + TRAINER + TRAIN, TRAINER + INIT + TRAIN], ids=["task first", "imports first"]
)
def test_checkpoints_of_a_trainer_are_whole(run: Run, ctx: StoreContext, script: str) -> None:
    """The folder holds what the trainer writes after the weights, and nothing within is a model of its own."""
    found = stored(ctx, run(script, package="transformers"))
    weights = {"config.json", "model.safetensors"}
    rest = {"optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "training_args.bin"}
    assert found == {
        "checkpoint-1": weights | rest,
        "checkpoint-2": weights | rest,
        "final": weights | {"training_args.bin"},
        "plain": weights,
    }


def test_states_of_accelerate_are_whole(run: Run, ctx: StoreContext) -> None:
    """A state is one model with its optimizer, also where accelerate names the folder; what is loaded is that model."""
    ran = run(INIT + ACCELERATE, package="accelerate")
    found = stored(ctx, ran)
    assert set(found) == {"state", "model", "one", "checkpoint_0"}
    assert {"model.safetensors", "optimizer.bin"} < found["state"]
    assert found["model"] == {"model.safetensors"}
    assert any(name.startswith("random_states") for name in found["checkpoint_0"])
    assert [entry["id"] for entry in ran.record.input_models] == [
        entry["id"] for entry in ran.record.output_models if entry["name"] == "state"
    ]


CHECKPOINTS = """import tensorflow as tf
checkpoint = tf.train.Checkpoint(w=tf.Variable([1.0]))
manager = tf.train.CheckpointManager(checkpoint, "ck", max_to_keep=1)
for _ in range(3): manager.save()
checkpoint.restore(manager.latest_checkpoint)
"""


def test_checkpoints_of_tensorflow_are_whole(run: Run, ctx: StoreContext) -> None:
    """A checkpoint is its index and its data, also where the manager has deleted both."""
    ran = run(INIT + CHECKPOINTS, package="tensorflow")
    assert stored(ctx, ran) == {
        f"ckpt-{number}": {f"ckpt-{number}.index", f"ckpt-{number}.data-00000-of-00001"} for number in (1, 2, 3)
    }
    assert [entry["name"] for entry in ran.record.input_models] == ["ckpt-3"]


ONNX = """import onnx
from onnx import TensorProto, helper
def model():
    tensors = [helper.make_tensor(name, TensorProto.FLOAT, [2], b"12345678", raw=True) for name in ("v", "w")]
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    return helper.make_model(helper.make_graph([helper.make_node("Add", ["v", "w"], ["y"])], "g", [], [y], tensors))
options = dict(save_as_external_data=True, size_threshold=0)
onnx.save(model(), "one.onnx", location="one.data", **options)
save(model(), "each.onnx", all_tensors_to_one_file=False, **options)
onnx.save(model(), "plain.onnx")
"""


def test_onnx_with_data_in_other_files_is_whole(run: Run, ctx: StoreContext) -> None:
    """The files that the graph names are stored with it; without such it is one file as before."""
    found = stored(ctx, run("from onnx import save\n" + INIT + ONNX, package="onnx"))
    assert found == {"one": {"one.onnx", "one.data"}, "each": {"each.onnx", "v", "w"}, "plain": {"plain.onnx"}}
