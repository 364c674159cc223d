"""What a script said about automatic captures: plain attributes that the captures read.

Source: ClearML's Logger.tensorboard_auto_group_scalars, tensorboard_single_series_per_graph,
matplotlib_force_report_non_interactive.
"""

from __future__ import annotations

tensorboard_auto_group_scalars = False
"""Whether scalars whose tags have no slash share one graph."""

tensorboard_single_series_per_graph = False
"""Whether writers of several folders, and members of add_scalars, get graphs of their own."""

matplotlib_non_interactive = False
"""Whether matplotlib figures are kept as pictures alone."""
