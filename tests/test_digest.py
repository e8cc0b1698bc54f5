"""The code digest: what changes it, what does not, and what it says when it cannot be made."""

import subprocess
import sys
from pathlib import Path

import pytest

from atlas import digest
from atlas.errors import AtlasError

STEP = '''"""A step."""

import os

from . import near
from toy.tools import helper


def main(x):
    """Do it."""
    from toy.late import lazy  # a late import counts too

    return helper(x) + lazy(x)
'''
FILES = {
    "requirements.lock": "numpy==2\n",
    "toy/__init__.py": "",
    "toy/step/__init__.py": "",
    "toy/step/run.py": STEP,
    "toy/step/near.py": "A = 1\n",
    "toy/tools.py": "import toy.deep.base as b\n\n\ndef helper(x):\n    return x + b.ONE\n",
    "toy/deep/__init__.py": "SIDE = 0\n",
    "toy/deep/base.py": "from .. import consts\n\nONE = consts.ONE\n",
    "toy/consts.py": "ONE = 1\n",
    "toy/late.py": "def lazy(x):\n    return x\n",
    "toy/unrelated.py": "import toy.step.run\n",
}


@pytest.fixture
def toy(tmp_path):
    """A small package; ``toy(edits)`` writes it with some files changed and gives the digest of its step."""
    count = iter(range(100))

    def digest_with(edits=None, module="toy.step.run"):
        root = tmp_path / str(next(count))  # a new folder each time, because parses are cached
        for name, text in {**FILES, **(edits or {})}.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        return digest.code_digest(module, root)

    return digest_with


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("toy/step/run.py", STEP.replace("helper(x) + lazy(x)", "helper(x) - lazy(x)")),
        ("toy/step/run.py", STEP.replace("x):", "x, y=0):")),
        ("toy/step/near.py", "A = 2\n"),
        ("toy/tools.py", FILES["toy/tools.py"].replace("x + ", "x * ")),
        ("toy/deep/base.py", "from .. import consts\n\nONE = consts.ONE + 0\n"),
        ("toy/deep/__init__.py", "SIDE = 1\n"),
        ("toy/step/__init__.py", "import sys\n"),
        ("toy/__init__.py", "VERSION = 2\n"),
        ("toy/consts.py", "ONE = 1.0\n"),
        ("toy/late.py", "def lazy(x):\n    return -x\n"),
        ("requirements.lock", "numpy==3\n"),
    ],
)
def test_real_edits_change_it(toy, name, text):
    assert toy({name: text}) != toy()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("toy/step/run.py", STEP.replace("Do it.", "Do it well.").replace("A step.", "The step.")),
        ("toy/step/run.py", "# comment\n" + STEP.replace("import os\n", "import os  # why\n\n\n")),
        (
            "toy/step/run.py",
            STEP.replace("(x) + lazy", "(x)  +  lazy").replace("return helper(x)", "return (helper(x))"),
        ),
        ("toy/tools.py", FILES["toy/tools.py"].replace("def helper(x):\n", 'def helper(x):\n    """Help."""\n')),
        ("toy/unrelated.py", "x = 1\n"),
        ("toy/new.py", "x = 1\n"),
        ("toy/step/data.tsv", "1\n"),
    ],
)
def test_other_edits_do_not(toy, name, text):
    assert toy({name: text}) == toy()


def test_a_string_that_is_not_a_docstring_counts(toy):
    assert toy({"toy/consts.py": "ONE = 1\n'note'\n"}) != toy()


def test_the_parts_name_the_modules_that_changed(toy, tmp_path):
    toy()
    toy({"toy/late.py": "def lazy(x):\n    return -x\n", "toy/unrelated.py": "x = 1\n"})
    before, after = (set(digest.code_parts("toy.step.run", tmp_path / name)) for name in "01")
    assert {part.partition("=")[0] for part in before ^ after} == {"toy.late"}
    assert any(part.startswith("requirements.lock=") for part in before)


def test_it_follows_every_form_of_import(toy, tmp_path):
    toy()
    assert sorted(digest.modules_of("toy.step.run", tmp_path / "0")) == [
        "toy",
        "toy.consts",
        "toy.deep",
        "toy.deep.base",
        "toy.late",
        "toy.step",
        "toy.step.near",
        "toy.step.run",
        "toy.tools",
    ]


def test_a_new_module_that_takes_over_an_imported_name_counts(toy):
    # `from toy.tools import helper` may mean the module toy/tools/helper.py once tools is a package
    package = {"toy/tools/__init__.py": FILES["toy/tools.py"]}
    assert toy({**package, "toy/tools/helper.py": "x = 1\n"}) != toy(package)


def test_a_syntax_error_names_file_and_line_and_leaves_other_steps_alone(toy):
    broken = {"toy/tools.py": "def helper(x:\n    return x\n"}
    with pytest.raises(AtlasError, match=r"toy/tools\.py, line 1: .*mend the syntax"):
        toy(broken)
    assert toy(broken, "toy.late") == toy(module="toy.late")


def test_a_missing_module_or_lock_is_named(toy, tmp_path):
    with pytest.raises(AtlasError, match=r"toy\.stop\.run: no such module"):
        toy(module="toy.stop.run")
    (tmp_path / "0" / "requirements.lock").unlink()
    with pytest.raises(AtlasError, match=r"requirements\.lock: no such file"):
        digest.code_digest("toy.late", tmp_path / "0")


def test_it_sees_what_python_really_imports():
    step, root = "atlas.ttt.run", Path(digest.__file__).parents[1]
    code = f"import {step}, sys; print(*(name for name in sys.modules if name.partition('.')[0] == 'atlas'))"
    imported = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout
    assert set(imported.split()) <= set(digest.modules_of(step, root))
