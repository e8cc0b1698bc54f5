# Where this runs: what is refused, and what only the workflow itself does, not the module of another one.
import sys
from pathlib import Path

if not HOME.is_dir():
    sys.exit(
        f"atlas: error: {HOME}: no folder on this machine; clone the repository and name its Snakefile"
    )
from atlas.workflow import installed

MAIN = Path(workflow.basedir) == HOME

LOADED = Path(installed.__file__).resolve().parents[2]

if LOADED != HOME.resolve():
    sys.exit(
        f"atlas: error: {HOME}: Snakemake has loaded another Atlas, {LOADED}; two checkouts cannot be modules"
        " of one workflow, and what loads Atlas earlier must take this one (PYTHONPATH)"
    )
if os.pathsep in str(HOME):
    sys.exit(
        f"atlas: error: {HOME}: Python cannot load code from a path with '{os.pathsep}'; move the checkout"
    )
if workflow.modifier.path_modifier.replace_prefix(str(HOME.name)) != HOME.name:
    sys.exit(
        "atlas: error: prefix of the module: the study says where results are; leave `prefix` out and give the module"
        ' `config: {..., "results": FOLDER}`'
    )

if workflow.is_main_process and not workflow.deployment_settings.deployment_method:
    installed.compare()  # with the lock file; conda makes environments of its own

from atlas.workflow import access, ending, interrupts, locks, study_files

if MAIN and workflow.is_main_process:
    interrupts.end_at_once()  # until `onstart`, which is not called for a module
    # clears away the lock of a Snakemake that was killed; `workflow.dryrun` is always False by now
    locks.hold(dryrun=workflow.output_settings.dryrun)
