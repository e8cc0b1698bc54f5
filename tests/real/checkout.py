"""A temporary copy of the repository with a very small study in it, and Snakemake run there as a user would."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[2]
PARTS = (
    *("Snakefile", "rules", "profiles", "envs", "report", "atlas", "LICENSE"),
    *("pyproject.toml", "requirements.lock", "requirements-cuda.lock"),
)
STUDY: dict[str, Any] = {
    "seeds": ["1-2", 3],  # two blocks, on two bases
    "facts_per_session": 2,
    "checkpoints": [1, 2],
    "pool": {"taught": 24, "placebo": 12, "shares": {"codes": 2, "identity": 1}},
    "base": {
        "corpus": "corpus-of-the-test.txt",
        "model": {"layers": 2, "width": 32, "heads": 2, "ffn": 64, "context": 128},
        "training": {"steps": 100, "batch": 8, "lr": 0.02},
        "max_val_loss": 3.5,
    },
    "recipe": {"phases": {"fast": {"steps": 2}, "slow": {"epochs": 1, "rehearsal": {"facts": 2}}}},
    "probes": {"val_tokens": 512},
    "arms": {"qv": {"targets": ["q", "v"], "ranks": 4}, "ffn": {"targets": ["up", "down"], "ranks": 4}},
    "contrasts": {"places": [["qv", "ffn"]], "recipe": [["qv", "qv_single_phase"]]},
    "ablations": {"qv_single_phase": {"targets": ["q", "v"], "ranks": 4, "recipe": {"phases": {"fast": None}}}},
}


ONE_BASE = STUDY | {"seeds": ["1-2"], "base": STUDY["base"] | {"replicas": 1}}


@dataclass(frozen=True)
class Checkout:
    """A copy of the repository."""

    root: Path

    def configure(self, study: dict[str, Any]) -> None:
        (self.root / "config.yaml").write_text(yaml.safe_dump(study))

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        bin_folder = str(Path(sys.executable).parent)
        return {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}

    def begun(self, said: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Snakemake as it runs, in a session of its own, so that a signal reaches its jobs, too; what it prints is
        appended to a file."""
        with open(self.root / said, "ab") as log:
            return subprocess.Popen(
                self.command(*arguments),
                cwd=self.root,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Snakemake to its end; stdout and stderr both come in ``stdout``."""
        return subprocess.run(
            self.command(*arguments),
            cwd=self.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def done(self, *arguments: str) -> str:
        """Run Snakemake and expect success; what it printed."""
        result = self.snakemake(*arguments)
        assert result.returncode == 0, result.stdout
        return result.stdout

    def planned(self, *arguments: str) -> set[str]:
        """The files below results/ that a dry run would make."""
        printed = self.done("--dry-run", *arguments)
        outputs = re.findall(r"^ +output: (.*)$", printed, flags=re.MULTILINE)
        return {name.removeprefix("results/") for line in outputs for name in line.split(", ")}

    def jobs(self, *arguments: str) -> set[str]:
        """The jobs that a dry run lists, as ``RULE WILDCARD ...``, but for targets, which make nothing."""
        printed = self.done("--dry-run", *arguments)
        listed = re.findall(r"^( *)(?:local)?rule (\w+):\n((?:\1    .*\n)+)", printed, flags=re.MULTILINE)
        found = [
            (rule, re.findall(r"^ *(output|wildcards): (.*)$", fields, re.MULTILINE)) for _, rule, fields in listed
        ]
        return {
            " ".join([rule, *re.findall(r"=([^,]+)", dict(fields).get("wildcards", ""))])
            for rule, fields in found
            if "output" in dict(fields)
        }

    def copy(self, to: Path) -> Checkout:
        """A copy with results and Snakemake's memory, file times kept."""
        shutil.copytree(self.root, to, symlinks=True)
        return Checkout(to)

    def file(self, name: str) -> Path:
        return self.root / "results" / name


def make(root: Path, study: dict[str, Any]) -> Checkout:
    """Copy what the workflow consists of, without results, and give it a study."""
    root.mkdir(parents=True)
    for part in PARTS:
        source = REPOSITORY / part
        if source.is_dir():
            shutil.copytree(source, root / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, root / part)
    (root / "corpus-of-the-test.txt").write_text((root / "LICENSE").read_text() * 10)
    checkout = Checkout(root)
    checkout.configure(study)
    return checkout


def stage(name: str) -> str:
    """The stage that makes a file below results/."""
    return "charts" if name == "index.html" else name.partition("/")[0]


def below(names: set[str], *stages: str) -> set[str]:
    return {name for name in names if stage(name) in stages}
