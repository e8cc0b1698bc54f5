"""The files of the study, as Snakemake has them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from atlas.errors import AtlasError
from atlas.study import strict_yaml


def stop_unless_readable(path: str) -> None:
    """End Snakemake with one line where a file of the study is no YAML, which its own message would not name."""
    try:
        if Path(path).exists():
            strict_yaml.read(path)
    except AtlasError as error:
        sys.exit(f"atlas: error: {error}")


def in_order(workflow: Any) -> list[Path]:
    """The files of the study, in the order in which Snakemake lays them over each other; none where the study is given
    by a workflow that this one is a module of."""
    if workflow.modifier.skip_configfile:
        return []
    last = workflow.overwrite_configfiles  # those of --configfile
    return [*(path for path in map(Path, workflow.configfiles) if path not in last), *last]
