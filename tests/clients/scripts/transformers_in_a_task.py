"""A Trainer inside of a task that runs before and after it."""

import runpy
from pathlib import Path

from clearml import Task

task = Task.init(project_name="own", task_name="task", auto_connect_frameworks=False)
runpy.run_path(str(Path(__file__).with_name("transformers_trainer.py")), run_name="__main__")
assert Task.current_task() is task
task.get_logger().report_scalar("after", "training", 1.0, iteration=0)
