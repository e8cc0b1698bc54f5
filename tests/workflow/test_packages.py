"""The installed packages in the code digest: which count for a step, in which version, and what they require."""

import sys
from importlib import metadata
from importlib.machinery import PathFinder

import pytest
from packaging.utils import canonicalize_name

from atlas.workflow import digest
from atlas.workflow.digest import packages
from tests.workflow.made_packages import forget, install

STEP = """import os
from typing import TYPE_CHECKING

import solid
from toy import tools

if TYPE_CHECKING:
    import typed
else:
    import untyped


def main():
    from late.part import thing
    try:
        import absent
    except ImportError:
        absent = None
    return solid.run(thing, tools.used(), absent)
"""
TOOLS = """import drawn
import other as used_as


def used():
    return used_as.one()


def unused():
    import lazy
    return drawn.one() + lazy.one()
"""
# by name: version, what it requires, its modules
INSTALLED = {
    "Solid": ("1.0+cpu", ["below[fast]>=1", "never; python_version < '3'", "asked; extra == 'all'"], ["solid"]),
    "below": ("2.0", ["Quick_Er; extra == 'fast'", "solid", "nvidia-cublas==13", "missing"], ["below"]),
    "quick-er": ("3.0", ["setuptools"], ["quicker"]),
    "py-other": ("4.0", [], ["other"]),
    "late-things": ("5.0", [], ["late"]),
    "a-late": ("5.5", [], ["alate"]),
    **{name: ("6.0", [], [name]) for name in ("typed", "untyped", "drawn", "lazy", "never", "asked")},
    **{name: ("7.0", [], []) for name in ("nvidia-cublas", "setuptools")},
}
COUNTED = {"below": "2.0", "late-things": "5.0", "py-other": "4.0", "quick-er": "3.0", "solid": "1.0", "untyped": "6.0"}


@pytest.fixture
def versions(tmp_path, monkeypatch):
    """Packages as a toy step sees them; ``versions(name=(...))`` with some of them otherwise, None: not installed."""
    count = iter(range(100))

    def found(step=STEP, without=(), **changes):
        root = tmp_path / str(next(count))
        (root / "toy").mkdir(parents=True)
        (root / "toy" / "step.py").write_text(step)
        (root / "toy" / "tools.py").write_text(TOOLS)
        for name, told in {**INSTALLED, **changes}.items():
            if told:
                install(root / "site", name, *told)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "path", [str(root / "site")])
            forget()
            parts = digest.code_parts("toy.step", root, without)
        return dict(part.split("==") for part in parts if "==" in part)

    yield found
    forget()


def test_what_the_reached_code_imports_counts_with_all_that_it_requires(versions):
    """Late imports do; those for type checkers, of code that is not reached, and extras nobody asks for do not. Nor
    does what a build of torch for CUDA brings along, and what only builds packages."""
    assert versions() == COUNTED | {"python": "{}.{}".format(*sys.version_info)}


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("below", ("2.1", INSTALLED["below"][1], ["below"])),
        ("quick-er", ("3.0.1", [], ["quicker"])),
        ("Solid", ("1.0.post1", INSTALLED["Solid"][1], ["solid"])),
        ("py-other", None),
        ("absent", ("8.0", [], ["absent"])),
    ],
)
def test_another_version_counts(versions, name, changed):
    differ = dict(versions(**{name: changed}).items() ^ versions().items())
    assert [*differ] == [canonicalize_name(name)]


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("Solid", ("1.0+cu130", INSTALLED["Solid"][1], ["solid"])),  # the same code, built for something else
        ("nvidia-cublas", ("8.0", [], [])),
        ("setuptools", None),
        ("typed", ("8.0", [], ["typed"])),
        ("lazy", ("8.0", [], ["lazy"])),
        ("drawn", None),
        ("asked", ("8.0", [], ["asked"])),
        ("unknown", ("8.0", [], ["unknown"])),
    ],
)
def test_another_version_of_anything_else_does_not(versions, name, changed):
    assert versions(**{name: changed}) == versions()


def test_what_a_study_does_not_come_to_is_left_out(versions):
    assert versions(without=["late", "untyped"]).keys() == versions().keys() - {"late-things", "untyped"}


def test_other_ways_to_lie_on_disk(versions):
    """A package that is edited where it lies, and a namespace that others share."""
    step = "import edited, space.part\n"
    found = versions(step, edited=("2.5", [], []), one=("3.5", [], ["space/part"]), two=("4.5", [], ["space/other"]))
    assert found == {"python": found["python"], "edited": "2.5", "one": "3.5", "two": "4.5"}


def test_the_distribution_of_every_module_here_is_found():
    """As ``importlib.metadata`` finds it, which takes longer."""
    known = {module: {*map(canonicalize_name, names)} for module, names in metadata.packages_distributions().items()}
    for module in filter(PathFinder.find_spec, {*known} - {"atlas"}):
        assert packages.distributions_of(module) <= known[module], module
        assert packages.distributions_of(module), module
    assert [
        packages.distributions_of(module) for module in ("yaml", "markdown_it", "vl_convert", "json", "absent")
    ] == [*({"pyyaml"}, {"markdown-it-py"}, {"vl-convert-python"}, set(), set())]


@pytest.mark.parametrize(
    ("step", "there", "not_there"),
    [
        ("atlas.ttt.run", {"torch", "numpy", "python"}, {"altair", "vl-convert-python", "pandas", "snakemake"}),
        ("atlas.base.pretrain", {"torch", "numpy"}, {"altair", "unearth", "pandas"}),
        ("atlas.base.corpus", {"unearth"}, {"torch", "altair"}),
        ("atlas.tables.retention", {"pandas", "numpy"}, {"altair", "torch"}),
        ("atlas.charts.retention", {"altair", "vl-convert-python"}, {"torch", "unearth"}),
    ],
)
def test_the_packages_of_real_steps(step, there, not_there):
    named = {part.partition("==")[0] for part in digest.code_parts(step) if "==" in part}
    assert there <= named
    assert not not_there & named
