"""Train a small neural network on scikit-learn's handwritten digits, tracked by localtrack.

python train.py --lr 0.1 --epochs 12
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import classification_report, confusion_matrix, log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from localtrack import Task

HIDDEN_UNITS = 16
BATCH_SIZE = 32
DIGITS = [str(digit) for digit in range(10)]


def parse_arguments() -> argparse.Namespace:
    """Return the command line's arguments; the task records them, and an agent may change them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lr", type=float, default=0.01, help="learning rate")
    parser.add_argument("--epochs", type=int, default=12, help="passes over the training set")
    parser.add_argument("--seed", type=int, default=7, help="of the split, the weights and the batches")
    return parser.parse_args()


def show_progress(done: int, total: int) -> None:
    """Draw a progress bar over itself; the task keeps only its last state."""
    bar = "#" * (30 * done // total)
    sys.stderr.write(f"\rtraining [{bar:<30}] {done}/{total}")
    if done == total:
        sys.stderr.write("\n")
    sys.stderr.flush()


def current_commit() -> str:
    """Return the commit of the checkout in which this script lies; empty outside a repository."""
    folder = Path(__file__).resolve().parent
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def main() -> None:
    """Train, report every epoch, and store the results with the task."""
    task = Task.init(project_name="demo/digits", task_name="digits network")
    arguments = parse_arguments()
    logger = task.get_logger()

    images, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        images / 16.0, labels, test_size=0.3, random_state=arguments.seed, stratify=labels
    )
    model = MLPClassifier((HIDDEN_UNITS,), solver="sgd", learning_rate_init=arguments.lr, random_state=arguments.seed)
    order = np.random.default_rng(arguments.seed)
    print(f"{len(train_x)} images to train on, {len(test_x)} to test, {HIDDEN_UNITS} hidden units, lr {arguments.lr}")
    for epoch in range(1, arguments.epochs + 1):
        rows = order.permutation(len(train_x))
        for start in range(0, len(rows), BATCH_SIZE):
            batch = rows[start : start + BATCH_SIZE]
            model.partial_fit(train_x[batch], train_y[batch], classes=np.arange(10))
        for series, x, y in (("train", train_x, train_y), ("test", test_x, test_y)):
            logger.report_scalar("accuracy", series, float(model.score(x, y)), epoch)
            logger.report_scalar("loss", series, float(log_loss(y, model.predict_proba(x))), epoch)
        show_progress(epoch, arguments.epochs)

    predicted = model.predict(test_x)
    matrix = confusion_matrix(test_y, predicted)
    accuracy = float((predicted == test_y).mean())
    logger.report_confusion_matrix(
        "confusion", "test", iteration=arguments.epochs, matrix=matrix, xlabels=DIGITS, ylabels=DIGITS
    )
    logger.report_single_value("test accuracy", accuracy)
    print(f"test accuracy {accuracy:.3f}")
    store_results(task, model, matrix, test_y, predicted, arguments)


def store_results(
    task: Task,
    model: MLPClassifier,
    matrix: np.ndarray,
    test_y: np.ndarray,
    predicted: np.ndarray,
    arguments: argparse.Namespace,
) -> None:
    """Keep the model and artifacts of several kinds."""
    joblib.dump(model, "model.joblib")
    task.update_output_model(model_path="model.joblib", model_name="digits network")
    report = classification_report(test_y, predicted)
    Path("report.txt").write_text(report, encoding="utf-8")
    task.upload_artifact("confusion matrix", matrix)
    task.upload_artifact("report", Path("report.txt"))
    task.upload_artifact("remark", f"{int((predicted != test_y).sum())} of {len(test_y)} digits were taken for another")
    task.upload_artifact(
        "facts",
        {
            "lr": arguments.lr,
            "hidden_units": HIDDEN_UNITS,
            "commit": current_commit(),
            "folder": str(Path(__file__).resolve().parent),
        },
    )
    if importlib.util.find_spec("pandas") is not None:
        import pandas as pd

        task.upload_artifact("predictions", pd.DataFrame({"digit": test_y, "predicted": predicted}))


if __name__ == "__main__":
    main()
