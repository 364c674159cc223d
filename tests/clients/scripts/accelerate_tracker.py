"""A loop with Hugging Face accelerate that logs with ClearML: configuration, scalars, single values, images, tables."""

import numpy
import pandas
from accelerate import Accelerator

accelerator = Accelerator(cpu=True, log_with="clearml")
accelerator.init_trackers(
    "accelerated", config={"lr": 0.1, "layers": [8, 8]}, init_kwargs={"clearml": {"tags": ["tiny"]}}
)
for step in range(3):
    accelerator.log({"train_loss": 1.0 / (step + 1), "eval_accuracy": 0.25 * step, "speed": step}, step=step)
accelerator.log({"best": 0.5})
tracker = accelerator.get_tracker("clearml")
tracker.log_images({"eval_pictures": numpy.zeros((4, 5, 3), dtype="uint8")}, step=2)
tracker.log_table("train_rows", columns=["name", "value"], data=[["a", 1], ["b", 2]], step=2)
tracker.log_table("frame", dataframe=pandas.DataFrame({"x": [1.5], "y": ["é"]}), step=2)
accelerator.end_training()
