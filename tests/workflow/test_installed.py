"""What is installed beside the lock file: where they differ, and what is said of it."""

import sys

import pytest

from atlas.workflow import installed
from tests.workflow.made_packages import forget, install

LOCK = """# written by make lock
-c cuda.lock
Solid==1.0
older==2.0  # a remark
newer==3.0 ; python_version >= '3'
elsewhere==4.0 ; sys_platform == 'nowhere'
lost==5.0
far-lost==5.5 ; python_version < '3'
"""
CUDA = "nvidia-here==13.1\nnvidia-absent==13.2\n"
PROJECT = """[project]
dependencies = ["solid", "torch>=2"]
optional-dependencies.workflow = ["older>=1", "Lost.Direct"]
"""


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A checkout with a lock file, and an environment beside it in which all but one package are as it says."""
    (tmp_path / "requirements.lock").write_text(LOCK)
    (tmp_path / "cuda.lock").write_text(CUDA)
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    for name, version in (("solid", "1.0+cpu"), ("older", "2.0"), ("newer", "3.0"), ("nvidia-here", "13.1")):
        install(tmp_path / "site", name, version)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), str(tmp_path / "more")])
    monkeypatch.chdir(tmp_path)
    forget()
    yield tmp_path
    forget()


def also(root, name, version):
    """Another version, which Python finds first."""
    install(root / "more", name, version)
    sys.path.reverse()
    forget()


def of(root):
    return [tuple(each) for each in installed.differences(root / "requirements.lock")]


def test_a_build_of_the_same_version_and_what_another_platform_needs_differ_in_nothing(root):
    assert of(root) == [("lost", "5.0", None)]


@pytest.mark.parametrize(
    ("name", "version", "locked"),
    [("solid", "1.1", "1.0"), ("older", "1.9", "2.0"), ("newer", "3.0.1", "3.0"), ("nvidia-here", "12.9", "13.1")],
)
def test_another_version_differs(root, name, version, locked):
    also(root, name, version)
    assert set(of(root)) == {(name, locked, version), ("lost", "5.0", None)}


def test_the_warning_is_one_line_with_the_remedy(root, capsys):
    also(root, "older", "1.9")
    installed.compare(root)
    assert capsys.readouterr().err == (
        "atlas: warning: 2 packages differ from requirements.lock (in brackets): older 1.9 (2.0), lost missing (5.0); "
        "results will be those of what is installed; for the others run: "
        "python -m pip install --requirement requirements.lock\n"
    )


def test_nothing_is_said_where_nothing_differs(root, capsys):
    install(root / "site", "lost", "5.0")
    forget()
    installed.compare(root)
    assert capsys.readouterr() == ("", "")


def test_of_many_it_names_a_few(root, capsys):
    with (root / "requirements.lock").open("a") as lock:
        lock.writelines(f"more-{n}==1\n" for n in range(9))
    installed.compare(root)
    assert "10 packages differ" in (said := capsys.readouterr().err)
    assert "more-2 missing (1), and 6 more; " in said


def test_one_that_atlas_imports_must_be_there(root):
    (root / "requirements.lock").write_text("older==2.0\nlost-direct==6.0\n")
    with pytest.raises(
        SystemExit, match=rf"atlas: error: not installed in {sys.prefix}: lost-direct 6\.0; run: python -m"
    ):
        installed.compare(root)


def test_the_lock_file_of_this_repository_is_read():
    missing = {each.name for each in installed.differences(installed.ROOT / installed.LOCK) if not each.installed}
    assert not {"torch", "numpy", "pyyaml", "snakemake"} & missing
