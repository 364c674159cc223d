"""``python -m localtrack`` is the command line.

Source: docs/reference/cli.md.
"""

from localtrack.cli import main

if __name__ == "__main__":
    main()
