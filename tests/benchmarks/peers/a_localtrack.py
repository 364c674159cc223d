"""localtrack for the peers' benchmark of experiment trackers; goes beside that benchmark's other adapters.

Their driver runs it by path with ``common.py`` in the same folder, and finds it through ``PEERS_LOCAL``:
``{"localtrack": ["VENV", "a_localtrack", "import localtrack", {"big": true}]}``.
"""

from __future__ import annotations

import os

from common import ACC, LR, TAG, TOP, Adapter, main

PROJECT = "bench"


class A(Adapter):
    """Every call is a public one; runs start with the defaults that a user gets."""

    name = "localtrack"

    def setup(self, store):
        """Point localtrack at the store."""
        os.environ["LOCALTRACK_ROOT"] = store

    def load(self):
        """Import localtrack."""
        from localtrack import Task

        self.task_class = Task

    def start(self, name):
        """Start a run."""
        return self.task_class.init(project_name=PROJECT, task_name=name)

    def run_id(self, run):
        """Return the run's id."""
        return run.id

    def scalar(self, run):
        """Return the call for one scalar."""
        report = run.get_logger().report_scalar
        return lambda key, value, step: report(key, key, value, step)

    def many(self, run):
        """Return the call for one step's scalars."""
        report = run.get_logger().report_scalar
        names = {}

        def log(values, step):
            for key, value in values.items():
                if key not in names:
                    title, _, series = key.partition("/")
                    names[key] = title, series or title
                report(*names[key], value, step)

        return log

    def finish(self, run):
        """End the run."""
        run.close()

    def read(self, rid, key):
        """Return a series: steps and values."""
        title, _, series = key.partition("/")
        found = self.task_class.get_task(task_id=rid).get_reported_scalars()[title][series or title]
        return found["x"], found["y"]

    def create(self, i, name, params, metrics, tags):
        """Make a finished small run, with all captures off."""
        run = self.task_class.init(
            project_name=PROJECT,
            task_name=name,
            tags=tags,
            reuse_last_task_id=False,
            auto_connect_arg_parser=False,
            auto_connect_frameworks=False,
            auto_resource_monitoring=False,
            auto_connect_streams=False,
        )
        run.set_parameters({f"General/{key}": value for key, value in params.items()})
        logger = run.get_logger()
        for key, value in metrics.items():
            logger.report_scalar(key, key, value, 0)
        run.close()
        return run.id

    def ls(self):
        """Return the ids of all runs."""
        return self.task_class.query_tasks(project_name=PROJECT)

    def find(self):
        """Return the names of the best runs that a filter lets through."""
        rows = self.task_class.query_tasks(
            project_name=PROJECT,
            tags=[TAG],
            additional_return_fields=["name"],
            task_filter={
                "parameters": {"General/lr": [None, LR]},
                "metrics": {"acc/acc": [ACC, None]},
                "order_by": ["-last_metrics.acc.acc.value"],
                "page": 0,
                "page_size": TOP,
            },
        )
        return [row["name"] for row in rows]

    def get(self, rid):
        """Return a run's parameters and metrics."""
        task = self.task_class.get_task(task_id=rid)
        metrics = task.get_last_scalar_metrics()
        return task.get_parameters(cast=True), {title: metrics[title][title]["last"] for title in metrics}


if __name__ == "__main__":
    main(A)
