# What every rules file may use: STUDY (the validated study), RESULTS (its folder), code_digest (for params).
import sys
from pathlib import Path

from atlas import config as study_config, digest
from atlas.errors import AtlasError


def or_stop(make, *arguments):
    """Call ``make``; a mistake of the user ends Snakemake with one line instead of a traceback."""
    try:
        return make(*arguments)
    except AtlasError as error:
        sys.exit(f"atlas: error: {error}")


STUDY = or_stop(
    study_config.study,
    config,
    " + ".join(dict.fromkeys(map(str, workflow.configfiles))),
)
RESULTS = STUDY.results


def code_digest(module):
    """The code digest as a param, worked out per job: a broken module stops only the targets that need it."""
    return lambda wildcards: or_stop(digest.code_digest, module)
