"""mmengine's visualizer with its ClearML backend: configuration, scalars, an image, and the files of the run."""

import sys
from pathlib import Path

import numpy
import torch
from mmengine import Config
from mmengine.visualization import ClearMLVisBackend, Visualizer

folder = Path(sys.argv[1])
folder.mkdir()
(folder / "config.py").write_text("lr = 0.1\n")
backend = ClearMLVisBackend(init_kwargs={"project_name": "mm", "task_name": "engine", "tags": ["tiny"]})
visualizer = Visualizer(name="tiny", vis_backends=None)
visualizer._vis_backends = {"clearml": backend}
visualizer.add_config(Config({"lr": 0.1, "model": {"depth": 2}, "work_dir": str(folder)}))
for step in range(3):
    visualizer.add_scalar("mAP", 0.25 * step, step=step)
    visualizer.add_scalars({"loss": torch.tensor(1.0 / (step + 1)), "lr": numpy.float32(0.5)}, step=step)
visualizer.add_image("picture", numpy.zeros((4, 5, 3), dtype="uint8"), step=2)
visualizer.close()
