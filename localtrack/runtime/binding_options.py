"""What a script said about automatic captures: plain attributes that the captures read.

Source: ClearML's Logger.tensorboard_auto_group_scalars, tensorboard_single_series_per_graph,
matplotlib_force_report_non_interactive.
"""

from __future__ import annotations

tensorboard_auto_group_scalars = False
"""Whether scalars with the same prefix before their first slash share a graph."""

tensorboard_single_series_per_graph = False
"""Whether each scalar gets a graph of its own."""

matplotlib_non_interactive = False
"""Whether matplotlib figures are kept as pictures alone."""
