"""tensorboardX's ``SummaryWriter`` that reports into a task as well.

::

    from localtrack.integrations.tensorboardx import SummaryWriter

Source: docs/how-to/integrations.md; tensorboardX.
"""

from __future__ import annotations

import tensorboardX.event_file_writer as event_files
from tensorboardX import SummaryWriter as _SummaryWriter

from localtrack.integrations.summary_tee import tee_of

__all__ = ["SummaryWriter"]

SummaryWriter = tee_of(_SummaryWriter, event_files)
