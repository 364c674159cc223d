"""``python -m localtrack.cli``: the command line without an installed script."""

from __future__ import annotations

from localtrack.cli.app import main

if __name__ == "__main__":
    main(prog_name="localtrack")
