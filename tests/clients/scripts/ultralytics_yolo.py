"""A YOLO trained by ultralytics for two epochs on made-up pictures: its own callbacks report to ClearML."""

import sys
from pathlib import Path

import cpu_torchvision  # noqa: F401
import numpy
import yaml
from PIL import Image
from ultralytics import YOLO

folder = Path(sys.argv[1]).absolute()
random = numpy.random.default_rng(0)
for part in ("train", "val"):
    for kind in ("images", "labels"):
        (folder / kind / part).mkdir(parents=True)
    for number in range(4):
        picture = random.integers(0, 255, (64, 64, 3), dtype="uint8")
        Image.fromarray(picture).save(folder / "images" / part / f"{number}.jpg")
        (folder / "labels" / part / f"{number}.txt").write_text("0 0.5 0.5 0.4 0.4\n")
data = folder / "data.yaml"
data.write_text(
    yaml.safe_dump({"path": str(folder), "train": "images/train", "val": "images/val", "names": {0: "thing"}})
)
model = YOLO("yolov8n.yaml")
model.train(
    data=str(data), epochs=2, imgsz=64, batch=2, device="cpu", workers=0, project="runs", name="tiny",
    amp=False, verbose=False,
)  # fmt: skip
