"""How much each feature of boosted trees matters, as a plot.

Source: docs/how-to/integrations.md; the importances of XGBoost and LightGBM.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localtrack.integrations.hold import TaskHold, number_of

TITLE = "Feature importance"
SHOWN = 100


def report_importances(hold: TaskHold, kind: str, scores: Mapping[str, Any]) -> None:
    """Report bars, the most important feature first; at most a hundred.

    Args:
        hold: the task.
        kind: how they were measured; the series.
        scores: importance by feature's name; what is no number is left out.
    """
    task = hold.task
    numbers = {name: number for name, value in scores.items() if (number := number_of(value)) is not None}
    best = sorted(numbers.items(), key=lambda pair: -pair[1])[:SHOWN]
    if task is not None and best:
        names, values = zip(*best, strict=True)
        task.get_logger().report_histogram(
            TITLE, kind, list(values), iteration=0, xlabels=list(names), yaxis=kind, xaxis="feature"
        )
