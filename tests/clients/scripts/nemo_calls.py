"""The calls that NeMo's ClearMLLogger (a Lightning logger) makes, in its order. NeMo itself is too large to test with."""

import sys
import tarfile
from pathlib import Path

import pandas
from clearml import OutputModel, Task

weights = Path(sys.argv[1])
task = Task.init(
    project_name="nemo", task_name="speech", output_uri=True, auto_connect_frameworks={"pytorch": False}, tags=["tiny"],
    auto_connect_arg_parser=True,
)  # fmt: skip
task.connect_configuration({"optim": {"lr": 0.1}}, name="hparams")
for step in range(2):
    task.logger.report_scalar(title="train", series="loss", value=1.0 / (step + 1), iteration=step)
task.logger.report_table(
    title=task.name, series="summary", iteration=0, table_plot=pandas.DataFrame({"layer": ["a"], "parameters": [8]})
)
model = OutputModel(name=task.name, task=task, tags=["tiny"], framework="NeMo")
model.update_design(config_text="layers: 2\n")
with tarfile.open(weights, "w") as packed:  # what a .nemo file is
    packed.add(__file__, "weights.ckpt")
model.update_weights(
    weights_filename=str(weights), upload_uri=task.storage_uri or task._get_default_report_storage_uri(),
    auto_delete_file=False, is_package=True,
)  # fmt: skip
model.set_all_metadata({"epoch": {"type": "int", "value": "2"}})
print("GOT", bool(task.id), model.name)
task.mark_completed()
