"""Lets torchvision be used beside a PyTorch for CPUs: import this one first.

Its wheel is built for CUDA, so its compiled operators don't load. It insists on two of them when it is imported, and
YOLO calls one.
"""

import torch

library = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import torchvision.ops  # noqa: E402


def keep_best(boxes, scores, iou_threshold):
    """Return the indices of the boxes to keep, best first."""
    left = scores.argsort(descending=True)
    areas = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1)
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        low = torch.maximum(boxes[left, :2], boxes[best, :2])
        high = torch.minimum(boxes[left, 2:], boxes[best, 2:])
        shared = (high - low).clamp(min=0).prod(1)
        left = left[shared / (areas[left] + areas[best] - shared) <= iou_threshold]
    return torch.stack(kept) if kept else torch.empty(0, dtype=torch.long)


torchvision.ops.nms = keep_best
