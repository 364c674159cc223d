"""Tasks that the test process itself runs."""

from __future__ import annotations

from tests.api.conftest import root, start

__all__ = ["root", "start"]
