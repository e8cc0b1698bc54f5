# Atlas: table of contents. Each stage has its rules in rules/STAGE.smk and its code in atlas/STAGE/.
from pathlib import Path
from snakemake.utils import min_version

min_version("9.27")


configfile: "config.yaml"


include: "rules/common.smk"


for stage in ("pool", "base", "ttt", "tables", "charts"):
    if Path(workflow.basedir, "rules", f"{stage}.smk").exists():

        include: f"rules/{stage}.smk"
