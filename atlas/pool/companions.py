"""The files that are read along with a file of facts: the templates of LAMA and ParaRel, which publish them apart."""

from __future__ import annotations

from pathlib import Path

RELATIONS = "relations.jsonl"  # of LAMA: the template of each relation
PATTERNS = (
    "graphs_json"  # of ParaRel: a folder with the patterns of each relation, a file as the file of facts is called
)


def companions(source: Path | str | None) -> list[Path]:
    """The files with templates that belong to a file of facts, those that there are.

    They are looked for where the two publish them: LAMA's ``relations.jsonl`` in the folder of the file or the one
    above, ParaRel's ``graphs_json/P36.jsonl`` for a ``P36.jsonl`` there, too, or in ``pattern_data`` above.
    """
    if source is None or Path(source).suffix.lower() != ".jsonl":
        return []
    folder, name = Path(source).parent, Path(source).name
    above = folder / ".."
    places = [folder / RELATIONS, above / RELATIONS]
    places += [start / PATTERNS / name for start in (folder, above, above / "pattern_data")]
    return [place for place in places if place.is_file()]
