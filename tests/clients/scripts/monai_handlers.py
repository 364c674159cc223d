"""MONAI's handlers that report to ClearML, on an Ignite engine: numbers and images go through TensorBoard."""

import sys

import torch
from ignite.engine import Engine, Events
from monai.handlers import ClearMLImageHandler, ClearMLStatsHandler


def step(engine, batch):
    """Return a loss; put pictures where the image handler looks."""
    engine.state.batch = {"image": batch, "label": batch}
    return {"loss": float(batch.mean()), "pred": batch}


engine = Engine(step)
stats = ClearMLStatsHandler(
    project_name="monai/handlers", task_name="stats", tags=["tiny"], log_dir=sys.argv[1],
    output_transform=lambda output: output["loss"], tag_name="loss",
)  # fmt: skip
stats.attach(engine)
pictures = ClearMLImageHandler(
    log_dir=sys.argv[1], batch_transform=lambda batch: (list(batch), list(batch)), output_transform=lambda output: list(output["pred"]),
)  # fmt: skip
assert pictures.clearml_task is stats.clearml_task
engine.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: setattr(engine.state, "batch", batches[0]))
engine.add_event_handler(Events.EPOCH_COMPLETED, pictures)
batches = [torch.rand(2, 1, 8, 8) for _ in range(2)]
engine.run(batches, max_epochs=2)
stats.close()
pictures.close()
