"""Facts as lines `prompt => answer`, below the name of their template in brackets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from atlas.errors import AtlasError
from atlas.pool.facts import UNDRAWN, Fact
from atlas.pool.readers import PoolReader

ARROW = "=>"


class Arrows(PoolReader):
    """Reads files that end in .arrows."""

    suffixes: ClassVar[tuple[str, ...]] = (".arrows",)

    def read(self, path: Path) -> Sequence[Fact]:
        facts, template = [], "arrows"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if line.startswith("[") and line.rstrip().endswith("]"):
                template = line.strip()[1:-1]
            elif line.strip():
                prompt, arrow, answer = line.partition(ARROW)
                if not arrow:
                    raise AtlasError(f"{path}: line {number}: found {line[:40]!r}, expected PROMPT {ARROW} ANSWER")
                facts.append(
                    Fact(
                        fact_id=f"{template}/{number:05d}",
                        role=UNDRAWN,
                        domain="arrows",
                        template=template,
                        prompt=prompt.rstrip(),
                        answer=answer.strip(),
                        rephrases=(),
                    )
                )
        return facts
