"""tf.summary and Keras' callback, in a process of their own: TensorFlow is slow to load and sets up the whole process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pytest

SCRIPT = """
import json, sys, tempfile
from localtrack import Task
task = Task.init("p", "tf", auto_resource_monitoring=False)
import numpy as np
import tensorflow as tf
folder = tempfile.mkdtemp()
train, test = (tf.summary.create_file_writer(f"{folder}/{name}") for name in ("train", "test"))
with train.as_default():
    for step in range(5):
        tf.summary.scalar("loss", 1 / (step + 1), step=step)
        tf.summary.histogram("layer/w", np.random.normal(step, 1, 1000), step=step)
    tf.summary.image("one", np.random.rand(1, 4, 4, 3), step=1)
    tf.summary.image("many", np.random.rand(3, 4, 4, 3), step=1)
    tf.summary.audio("tone", np.zeros((1, 100, 1), "float32"), 8000, step=1)
    tf.summary.text("note", "hello", step=2)
    from tensorboard.plugins.hparams import api as hp
    hp.hparams({"lr": 0.5, "units": 4})
with test.as_default():
    tf.summary.scalar("loss", 5.0, step=1)
with tf.Graph().as_default():
    first = tf.compat.v1.summary.FileWriter(f"{folder}/v1")
    first.add_summary(tf.compat.v1.Summary(value=[tf.compat.v1.Summary.Value(tag="v1/x", simple_value=2.0)]), 4)
    first.close()
import keras
model = keras.Sequential([keras.layers.Dense(1)])
model.compile(loss="mse")
x = np.random.rand(16, 3)
model.fit(x, x[:, 0], epochs=2, verbose=0, validation_split=0.5, callbacks=[keras.callbacks.TensorBoard(f"{folder}/k")])
scalars = task.get_reported_scalars(max_samples=0)
task.close()
from localtrack.services import reports
media = reports.media(task._where())[0]
print(json.dumps({
    "scalars": {f"{t}|{s}": list(zip(v["x"], v["y"])) for t, lines in scalars.items() for s, v in lines.items()},
    "media": sorted(f"{item['title']}|{item['series']}|{item['content_type']}" for item in media),
    "plots": sorted({f"{plot['metric']}|{plot['variant']}" for plot in task.get_reported_plots()}),
    "parameters": {k: v for k, v in task.get_parameters(cast=True).items() if k.startswith("TB_hparams")},
    "errors": [text for text in task.capture_errors if text.startswith("binding")],
}))
"""


GRAPHS = """
import json, tempfile
import tensorflow as tf
folder = tempfile.mkdtemp()
train, test = (tf.summary.create_file_writer(f"{folder}/{name}") for name in ("train", "test"))
from localtrack import Task
start = lambda name: Task.init("p", name, auto_resource_monitoring=False, reuse_last_task_id=False)
first = start("first")
with test.as_default():
    tf.summary.scalar("loss", 9.0, step=7)
with train.as_default():
    tf.summary.scalar("loss", 8.0, step=7)

@tf.function
def train_step(x, step):
    with train.as_default():
        tf.summary.scalar("in/loss", x, step=step)
        tf.summary.histogram("in/w", tf.random.normal([100]), step=step)
        tf.summary.text("note", "hello", step=step)
        tf.summary.image("picture", tf.zeros([1, 4, 4, 3]), step=step)
        with tf.summary.record_if(tf.equal(step % 2, 0)):
            tf.summary.scalar("in/even", x, step=step)
    return x * 2

def run(first, last):
    for step in range(first, last):
        assert float(train_step(tf.constant(step / 4), tf.constant(step, tf.int64))) == step / 2

def points(task):
    found = task.get_reported_scalars(max_samples=0)
    return {f"{t}|{s}": list(zip(v["x"], v["y"])) for t, lines in found.items() for s, v in lines.items()}

run(0, 5)
known, plots, where = points(first), first.get_reported_plots(), first._where()
first.close()
run(5, 6)
second = start("second")
run(6, 8)
later = points(second)
second.close()
from localtrack.services import reports
print(json.dumps({
    "first": known, "second": later, "plots": sorted({f"{plot['metric']}|{plot['variant']}" for plot in plots}),
    "media": sorted(f"{item['series']}|{item['iteration']}" for item in reports.media(where)[0]),
    "errors": [text for task in (first, second) for text in task.capture_errors if text.startswith("binding")],
}))
"""


def outcome(folder, script):
    """Run a script and return what it says of its task at the end."""
    pytest.importorskip("tensorflow")
    (folder / "script.py").write_text(textwrap.dedent(script))
    environment = {**os.environ, "LOCALTRACK_ROOT": str(folder / "store"), "TF_CPP_MIN_LOG_LEVEL": "3"}
    shown = subprocess.run(
        [sys.executable, "script.py"], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert shown.returncode == 0, shown.stderr
    return json.loads(shown.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def facts(tmp_path_factory):
    """What the task holds after the script."""
    return outcome(tmp_path_factory.mktemp("tf"), SCRIPT)


def test_scalars(facts):
    """Eager scalars are recorded once, those of several writers apart, and those of TensorFlow 1's writer too."""
    found = facts["scalars"]
    assert [step for step, _ in found["loss|loss"]] == [0, 1, 2, 3, 4]
    assert found["loss|test: loss"] == [[1, 5.0]]
    assert found["v1|x"] == [[4, 2.0]]
    assert facts["errors"] == []


def test_keras_callback(facts):
    """What Keras' TensorBoard callback writes is recorded, training and validation apart."""
    assert {len(facts["scalars"][name]) for name in ("epoch_loss|epoch_loss", "epoch_loss|validation: epoch_loss")} == {
        2
    }


def test_samples_plots_and_parameters(facts):
    """Images, sounds, texts, histograms and hyper-parameters arrive under ClearML's names."""
    assert facts["media"] == [
        "Audio|tone|audio/wav", "Images|one|image/png", "Text|note|text/plain",
        *(f"many|sample_{number}|image/png" for number in range(3)),
    ]  # fmt: skip
    assert "layer|w" in facts["plots"]
    assert facts["parameters"] == {"TB_hparams/lr": 0.5, "TB_hparams/units": 4}


def test_summaries_of_graphs_and_of_writers_made_before(tmp_path):
    """What a tf.function writes is recorded, in whichever task runs then; writers made before Task.init have their names."""
    found = outcome(tmp_path, GRAPHS)
    assert found["first"] == {
        "loss|loss": [[7, 9.0]], "loss|train: loss": [[7, 8.0]], "in|loss": [[step, step / 4] for step in range(5)],
        "in|even": [[0, 0.0], [2, 0.5], [4, 1.0]],
    }  # fmt: skip
    assert found["second"] == {"in|loss": [[6, 1.5], [7, 1.75]], "in|even": [[6, 1.5]]}
    assert found["plots"] == ["in|w"]
    assert found["media"] == sorted(f"{series}|{step}" for series in ("note", "picture") for step in range(5))
    assert found["errors"] == []


STEPS = """
import json, tempfile
from localtrack import Task
task = Task.init("p", "steps", auto_resource_monitoring=False)
import numpy as np
import tensorflow as tf
step, value, data = tf.Variable(0, dtype=tf.int64), tf.Variable(0.0), np.zeros(4)
with tf.summary.create_file_writer(tempfile.mkdtemp()).as_default():
    for number in range(4):
        step.assign(number)
        value.assign(number / 2)
        data[:] = number
        tf.summary.scalar("given", value, step=step)
        tf.summary.text("text", str(number), step=step)
        tf.summary.image("image", np.full((1, 2, 2, 3), number, "uint8"), step=step)
        tf.summary.histogram("histogram", data, step=step)
        forms = {"int32": np.int32(number), "uint8": np.uint8(number), "array": np.array(number),
                 "tensor": tf.constant(number, tf.int64)}
        for name, form in forms.items():
            tf.summary.scalar(name, value, step=form)
        tf.summary.experimental.set_step(step)
        tf.summary.scalar("set", value)
    step.assign(9)
    data[:] = 9
scalars = task.get_reported_scalars(max_samples=0)
task.close()
from localtrack.services import reports
(surface,) = [plot["plot"]["data"][0]["y"] for plot in task.get_reported_plots()][-1:]
print(json.dumps({
    "scalars": {t: list(zip(v["x"], v["y"])) for t, lines in scalars.items() for v in lines.values()},
    "media": sorted(f"{item['series']}|{item['iteration']}" for item in reports.media(task._where())[0]),
    "surface": surface, "errors": [text for text in task.capture_errors if text.startswith("binding")],
}))
"""


def test_steps_of_every_form_are_those_of_the_call(tmp_path):
    """A variable that counts steps and goes on at once, and numbers of NumPy's and TensorFlow's, are what they were."""
    found = outcome(tmp_path, STEPS)
    points = [[step, step / 2] for step in range(4)]
    assert found["scalars"] == dict.fromkeys(("given", "int32", "array", "tensor", "uint8", "set"), points)
    assert found["media"] == sorted(f"{series}|{step}" for series in ("text", "image") for step in range(4))
    assert found["surface"] == [0, 1, 2, 3]
    assert found["errors"] == []
