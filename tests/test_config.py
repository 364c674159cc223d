"""Settings: what follows from several of them."""

from __future__ import annotations

from localtrack.config import Settings


def test_heartbeats_fit_the_lease() -> None:
    """A living writer never looks dead because only the lease was made shorter."""
    assert Settings().beat_s == 10.0
    assert Settings(lease_s=6.0).beat_s == 1.0
    assert Settings(heartbeat_s=2.0).beat_s == 2.0
