"""A pytorch-ignite trainer with its ClearMLLogger, every handler of it, and its ClearMLSaver."""

import sys

import torch
from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
from ignite.handlers import Checkpoint
from ignite.handlers.clearml_logger import (
    ClearMLLogger,
    ClearMLSaver,
    GradsHistHandler,
    GradsScalarHandler,
    WeightsHistHandler,
    WeightsScalarHandler,
    global_step_from_engine,
)
from ignite.metrics import Loss

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
loss = torch.nn.MSELoss()
batches = [(torch.randn(4, 2), torch.randn(4, 1)) for _ in range(3)]
trainer = create_supervised_trainer(model, optimizer, loss)
evaluator = create_supervised_evaluator(model, {"mse": Loss(loss)})
logger = ClearMLLogger(project_name="ignited", task_name="linear", tags=["tiny"], output_uri=True)
logger.attach_output_handler(
    trainer, event_name=Events.ITERATION_COMPLETED, tag="training", output_transform=lambda value: {"loss": value}
)
logger.attach_output_handler(
    evaluator, event_name=Events.EPOCH_COMPLETED, tag="validation", metric_names="all",
    global_step_transform=global_step_from_engine(trainer),
)  # fmt: skip
logger.attach_opt_params_handler(trainer, event_name=Events.ITERATION_STARTED, optimizer=optimizer)
for handler in (
    WeightsScalarHandler(model),
    WeightsHistHandler(model),
    GradsScalarHandler(model),
    GradsHistHandler(model),
):
    logger.attach(trainer, event_name=Events.EPOCH_COMPLETED, log_handler=handler)
saver = ClearMLSaver(logger, dirname=sys.argv[1])
checkpoint = Checkpoint({"model": model}, saver, n_saved=1, global_step_transform=global_step_from_engine(trainer))
trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: evaluator.run(batches))
evaluator.add_event_handler(Events.COMPLETED, checkpoint)
trainer.run(batches, max_epochs=2)
logger.report_text("through the logger's own methods")
saver.get_local_copy("nothing by that name")
logger.close()
