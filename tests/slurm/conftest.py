"""A real Slurm of three pretend nodes, for all tests of this folder, and the undisturbed run they compare with."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.real import checkout

CLUSTER = Path(__file__).with_name("cluster.sh")
UNFIT = 77  # its exit code where Slurm cannot be had
TARGETS = ("ttt", "tables")


def pytest_collection_modifyitems(items):
    """One worker runs them all: there is one cluster."""
    for item in items:
        if item.path.parent == CLUSTER.parent:
            item.add_marker(pytest.mark.slurm)
            item.add_marker(pytest.mark.xdist_group("slurm"))


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    """The cluster; skips with the reason where there can be none."""
    if " " in sys.executable:
        pytest.skip(f"Snakemake's plugin for Slurm does not quote the path of its Python, {sys.executable}")
    folder = tmp_path_factory.mktemp("cluster")
    started = subprocess.run(["bash", CLUSTER, "up", folder], capture_output=True, text=True, check=False)
    if started.returncode == UNFIT:
        pytest.skip(started.stderr.strip())
    assert started.returncode == 0, started.stderr
    yield folder
    subprocess.run(["bash", CLUSTER, "down", folder], check=True)


@pytest.fixture(scope="session")
def undisturbed(slurm, tmp_path_factory):  # noqa: ARG001  where there is no cluster, nothing need run
    """A checkout whose study has run without a cluster. Look, do not touch."""
    made = checkout.make(tmp_path_factory.mktemp("local") / "atlas", checkout.ONE_BASE)
    made.done(*TARGETS)
    return made
