"""The step that writes a file of what command lines have no room for: what it reads on stdin, a line end behind it.

python -m atlas.workflow.given --out results/tables/given/arms.txt < LIST
"""

from __future__ import annotations

import sys
from pathlib import Path

from atlas.workflow import files
from atlas.workflow.steps import parser, run_step


def main() -> None:
    """Write what comes on stdin."""
    options = parser(__doc__)
    options.add_argument("--out", type=Path, required=True, help="file, to be written")
    files.publish_text(options.parse_args().out, sys.stdin.read())


if __name__ == "__main__":
    run_step(main)
