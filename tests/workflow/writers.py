"""A process that publishes one set of files over and over, for tests that kill it: writers.py FOLDER MARK BEGAN."""

import sys
from pathlib import Path

from atlas.workflow import files, publishing

MEMBERS = ("a.txt", "b.txt", "c.txt")
LAST = "last.json"


def publish(folder: Path, mark: str) -> None:
    with files.together(folder / LAST) as stage:
        for name in MEMBERS:
            files.write_text(stage / name, mark * 5000)
        files.write_json(stage / LAST, mark)


if __name__ == "__main__":
    publishing.BEGAN = float(sys.argv[3])
    print("ready", flush=True)
    while True:
        publish(Path(sys.argv[1]), sys.argv[2])
