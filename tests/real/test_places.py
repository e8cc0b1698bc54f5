"""How people start the workflow: from elsewhere, as a module, with files of any name, on few cores, on GPUs."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass

import pytest
import yaml

from tests.real.checkout import STUDY, Checkout, make
from tests.real.test_outside import ODD
from tests.real.test_search_rules import SEARCH
from tests.workflow.test_gpus import nvidia_smi


def run(folder, checkout: Checkout, *arguments: str, **environment: str) -> str:
    """Run Snakemake in a folder that is no checkout and expect success; what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", *arguments],
        cwd=folder,
        env=checkout.environment | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture
def outer(tmp_path):
    """The folder of another workflow."""
    folder = tmp_path / "outer"
    folder.mkdir()
    return folder


@pytest.fixture
def another_atlas(outer):
    """Packages called atlas that give themselves away, where Snakemake runs and as the one that is installed."""
    for package in (outer / "atlas", outer / "site" / "atlas"):
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("raise SystemExit('this is another Atlas')\n")
    return {"PYTHONPATH": os.pathsep.join([str(outer / "site"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])}


def test_from_elsewhere_the_code_that_is_digested_runs(fresh, outer, another_atlas):
    snakefile = ("--snakefile", str(fresh.root / "Snakefile"))
    (outer / "config.yaml").write_text(yaml.safe_dump(STUDY | {"facts_per_session": 1}))
    run(outer.parent, fresh, *snakefile, "--directory", str(outer), "pool", **another_atlas)
    assert (outer / "results/pool/streams/2.parquet").exists()
    assert not fresh.file("pool").exists()
    assert "done" in run(outer, fresh, *snakefile, "pool", **another_atlas)


def test_where_there_is_no_study_it_is_the_checkouts(fresh, outer):
    fresh.configure(STUDY | {"results": "of-the-checkout"})
    snakefile = ("--snakefile", str(fresh.root / "Snakefile"))
    assert "of-the-checkout/pool/pool.parquet" in run(outer, fresh, *snakefile, "--dry-run", "pool")


@pytest.mark.parametrize("name", ["*", "atlas_*"])
def test_as_the_module_of_another_workflow(fresh, outer, another_atlas, name):
    (outer / "Snakefile").write_text(
        f"""
configfile: "study.yaml"
module atlas:
    snakefile: {str(fresh.root / "Snakefile")!r}
    config: config["study"]
use rule * from atlas as {name}
"""
    )
    (outer / "study.yaml").write_text(yaml.safe_dump({"study": STUDY | {"results": "their results"}}))
    everything = run(outer, fresh, "--dry-run", **another_atlas)
    assert "their results/index.html" in everything
    printed = run(outer, fresh, name.replace("*", "pool"), **another_atlas)
    assert (outer / "their results/pool/streams/2.parquet").exists()
    assert "localrule " + name.replace("*", "pool") in printed
    assert not (outer / ".snakemake/atlas.alive").exists()  # whose locks those are is not for a module to say


def test_a_prefix_of_the_module_is_refused_in_one_line(fresh, outer):
    module = f"module atlas:\n    snakefile: {str(fresh.root / 'Snakefile')!r}\n    prefix: 'mine'\n"
    (outer / "Snakefile").write_text(module + "use rule * from atlas\n")
    with pytest.raises(AssertionError, match="atlas: error: prefix of the module: the study says where results are"):
        run(outer, fresh, "--dry-run")


def odd_study(root):
    """A study of all kinds of jobs, with all names odd that its author may choose, and the files that it names."""
    own, corpus, start = (root / f"{kind} {ODD}" for kind in ("pool.csv", "corpus", "adapter"))
    start.mkdir()
    for path in (own, corpus, start / "adapter_config.json", start / "adapter_model.safetensors"):
        path.touch()
    begun = {"targets": ["q"], "start": start.name}
    lost = {"targets": ["q", "v"], "ranks": 4, "base": {"reinit": ["up"]}}
    arms = STUDY["arms"] | {"begun": begun, "lost": lost, "rome": {"method": "rome", "editing": {"layer": 1}}}
    return STUDY | {
        "results": f"results {ODD}",
        "pool": {"source": own.name, "taught": 24, "placebo": 12},
        "base": STUDY["base"] | {"corpus": corpus.name},
        "arms": arms,
        "search": SEARCH | {"arms": SEARCH["arms"] | {"begun": begun}},
        "interval": None,
    }


@dataclass(frozen=True)
class Planned:
    """A job as a dry run lists it."""

    rule: str
    fields: str
    words: list[str]  # of its command


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """All jobs of an odd study, with a default resource on the command line."""
    made = make(tmp_path_factory.mktemp("odd") / "atlas", STUDY)
    made.configure(odd_study(made.root))
    options = ("--dry-run", "--printshellcmds", "--default-resources", "slurm_account=abc")
    printed = made.done(*options, "--", "all", "search", "guard")
    listed = r"^ *(?:local)?rule (\w+):\n((?: +\w+: .*\n)+) *Shell command: (?!None$)(.*)$"  # targets have none
    return [Planned(rule, fields, shlex.split(command)) for rule, fields, command in re.findall(listed, printed, re.M)]


def test_what_snakemake_cannot_hand_to_a_cluster_is_refused_in_one_line(fresh):
    """It writes such words in double quotes, where the shell of the job reads $HOME."""
    cluster = ("--dry-run", "--workflow-profile", "profiles/generic", "--config", f"results={ODD}")
    said = fresh.snakemake(*cluster).stdout
    assert f"atlas: error: {ODD}: Snakemake hands no path with '" in said
    assert "Traceback" not in said


def test_every_rule_quotes_every_path(planned):
    rules = {job.rule for job in planned}
    assert {
        "facts",
        "corpus",
        "pretrain",
        "measure_base",
        "teach",
        "trials",
        "honest",
        "damage",
        "misload",
        "covariance",
    } <= rules
    assert {"collect", "recipes", "page", "prose"} <= rules
    for job in planned:
        steps = [shlex.split(word) for word in job.words if word.startswith("atlas.") and " " in word]  # of a batch
        words = [word for step in steps or [job.words] for word in step]
        assert f"--log results {ODD}/logs/" in " ".join(words), job
        paths = [word for word in words if not word.startswith(("{", "[", "PYTHONPATH="))]
        assert not [word for word in paths if set(word.replace(ODD, "")) & set("'&(;)")], job


def test_every_step_runs_this_checkouts_code_and_waits_without_spinning(planned):
    for job in planned:
        assert {"PYTHONSAFEPATH=1", "OMP_WAIT_POLICY=PASSIVE"} <= {*job.words}, job
        assert any(word.startswith("PYTHONPATH=$ATLAS_HOME") for word in job.words), job


def test_no_job_depends_on_the_default_resources_of_a_profile(planned):
    for job in planned:
        assert re.search(r"resources: (?=.*\bruntime=\d+)(?=.*\bmem_mb=[12]000\b).*\bgpu=0\b", job.fields), job


def threads(printed: str) -> set[str]:
    return {*re.findall(r"--threads \d", printed)}


def test_the_threads_that_compute_are_those_of_the_rule_however_few_cores_there_are(copy):
    target = "results/base/1/certificate.json"
    forced = ("--dry-run", "--printshellcmds", "--forceall", "--", target)
    assert threads(copy.done("--cores", "1", *forced)) == threads(copy.done("--cores", "2", *forced)) == {"--threads 2"}
    assert copy.jobs("--cores", "1", "--", target) == set()
    reason = copy.done("--dry-run", "--set-threads", "pretrain=1", "--", target)
    assert "before: '--threads 2' now: '--threads 1'" in reason


def test_jobs_that_train_on_a_gpu_share_what_is_there(fresh, tmp_path):
    path = f"{nvidia_smi(tmp_path, 2)}:{fresh.environment['PATH']}"
    for device in ("cuda", "auto"):
        fresh.configure(STUDY | {"device": device})
        listed = run(fresh.root, fresh, "--dry-run", "ttt", PATH=path)
        counts = [len(re.findall(said, listed)) for said in ("rule teach:", "rule measure_base:", "gpu=1")]
        assert counts == [6, 2, 8]
    for given, limit in ((), 2), (("--resources", "gpu=5"), 5):
        made = run(fresh.root, fresh, "--forceall", *given, "--", "results/pool/pool.parquet", PATH=path)
        assert re.search(rf"Provided resources: gpu=.*\b{limit}\b", made)


def test_touched_files_rerun_nothing_whatever_their_size(copy):
    """Snakemake's own limit is 1 MB: above it time stamps decide."""
    own = copy.root / "corpus-of-the-test.txt"
    own.write_text(own.read_text() * 40)
    assert own.stat().st_size > 1_000_000
    target = "results/base/corpus.txt"
    copy.done("--", target)
    os.utime(own)
    assert copy.jobs("--", target) == set()
    for profile in sorted((copy.root / "profiles").glob("*/config.yaml")):
        assert yaml.safe_load(profile.read_text())["max-checksum-file-size"] == "1TB", profile
