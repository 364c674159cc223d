"""PyTorch's ``SummaryWriter`` that reports into a task as well.

::

    from localtrack.integrations.tensorboard import SummaryWriter

    with SummaryWriter("runs/first", project="vision/digits", name="baseline") as writer:
        writer.add_scalar("train/loss", loss, step)

Source: docs/how-to/integrations.md; torch.utils.tensorboard.
"""

from __future__ import annotations

import tensorboard.summary.writer.event_file_writer as event_files
from torch.utils.tensorboard import SummaryWriter as _SummaryWriter

from localtrack.integrations.summary_tee import tee_of

__all__ = ["SummaryWriter"]

SummaryWriter = tee_of(_SummaryWriter, event_files)
