"""The calls that verl's tracking makes for ClearML, in its order."""

import pandas
from clearml import Task

task = Task.init(task_name="ppo", project_name="verl", continue_last_task=True, output_uri=False)
task.connect_configuration({"actor": {"lr": 1e-6}}, name="Hyperparameters")
logger = task.get_logger()
for step in range(2):
    logger.report_scalar(title="critic", series="score/mean", value=0.5 * step, iteration=step)
logger.report_table(
    title="Validation generations", series=f"Epoch {step}", iteration=step,
    table_plot=pandas.DataFrame({"inputs": ["a"], "scores": [1.0]}),
)  # fmt: skip
task.close()
