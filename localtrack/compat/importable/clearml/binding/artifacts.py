"""Artifacts."""

from localtrack.api.task import Artifact, Artifacts

__all__ = ["Artifact", "Artifacts"]
