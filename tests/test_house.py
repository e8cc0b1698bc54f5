"""The house as CONTRIBUTING.md and the import contract tell it: complete, and true."""

import ast
import re
import tomllib
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from atlas.plugins.loading import ADAPTERS, EDITORS, METRICS, READERS

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "atlas"
PAGE = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
PAGES = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "Makefile", "Snakefile", "config.yaml")),
    *sorted((REPOSITORY / "docs").glob("*.md")),
    *sorted((REPOSITORY / "rules").glob("*.smk")),
    *sorted((REPOSITORY / "studies").glob("*.yaml")),
    PACKAGE / "workflow" / "digest" / "README.md",
]
TREE = PAGE.split("```")[1]
NAMED = re.findall(r"(?:^| ) {2,}(\w+(?:/|\.py)) {2,}", TREE, re.MULTILINE)
MODULES = sorted(path.name for path in PACKAGE.glob("*.py"))
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def contract():
    """The layers of the import contract, from the lowest on."""
    tool = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    layers = next(each["layers"] for each in tool["importlinter"]["contracts"] if each["type"] == "layers")
    return [{name.strip().removeprefix("atlas.") for name in layer.split("|")} for layer in reversed(layers)]


def test_few_modules_stand_at_the_root():
    assert len(MODULES) <= 6, MODULES


def test_the_tree_names_every_room_and_every_module_at_the_root():
    assert {name.rstrip("/") for name in NAMED if name.endswith("/")} == {*ROOMS}
    assert {name for name in NAMED if name.endswith(".py")} == {*MODULES} - {"__init__.py"}


@pytest.mark.parametrize("name", [*ROOMS, *(name.removesuffix(".py") for name in MODULES if name != "__init__.py")])
def test_the_import_contract_holds_every_room_and_module(name):
    assert name in set().union(*contract())


def test_the_tree_has_the_order_of_the_contract():
    level = {name: number for number, layer in enumerate(contract()) for name in layer}
    rooms = [name.rstrip("/") for name in NAMED if name.endswith("/")]
    assert [level[room] for room in rooms] == sorted(level[room] for room in rooms)


def test_the_tree_fits_on_a_screen():
    lines = TREE.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_a_page_names_files_and_modules_that_there_are(page):
    """Whatever looks like a path of the repository or a dotted name of the package, but for capitals, which stand for
    a name of one's own."""
    text = page.read_text(encoding="utf-8")
    paths = set(
        re.findall(r"(?<![\w/.-])((?:atlas|rules|tests|docs|report|studies|profiles|examples)/[\w./-]*\w)", text)
    )
    modules = {name.replace(".", "/") for name in re.findall(r"(?<![\w/.-])(atlas(?:\.[a-z_]\w*)+)", text)}
    gone = [name for name in paths if not re.search("[A-Z]{3}", name) and not [*REPOSITORY.glob(f"{name}*")]]
    groups = {group.replace(".", "/") for group in (EDITORS, ADAPTERS, METRICS, READERS)}  # of entry points
    gone += [name for name in modules - groups if not there(REPOSITORY / name)]
    assert sorted(gone) == []


def there(path: Path) -> bool:
    """Whether a dotted name, as a path, is a module or a name in one."""
    if path.is_dir() or path.with_suffix(".py").is_file():
        return True
    above = next(each for each in (path.parent.with_suffix(".py"), path.parent / "__init__.py", path) if each.exists())
    return re.search(rf"\b{path.name}\b", above.read_text(encoding="utf-8")) is not None


def test_a_page_that_names_what_is_gone_would_be_found():
    assert not there(PACKAGE / "errors" / "NoSuchError")
    assert there(PACKAGE / "errors" / "AtlasError")


def test_every_room_has_its_tests_where_its_name_says():
    """But for `check`, which needs the results of a whole workflow: tests/real/test_check.py."""
    assert [room for room in ROOMS if room != "check" and not (REPOSITORY / "tests" / room).is_dir()] == []


def test_every_module_has_a_name_of_its_own():
    """But a chart is named as the table that it shows, and either as the step that makes what it shows: one thing, one
    name."""
    rooms = defaultdict(list)
    for path in PACKAGE.rglob("*.py"):
        if path.stem != "__init__":
            rooms[path.stem].append(".".join(path.relative_to(PACKAGE).parts[:-1]))
    allowed = [["charts", "tables"], ["charts", "ttt.editors"], ["charts", "tables", "ttt"]]
    assert {name: found for name, found in rooms.items() if len(found) > 1 and sorted(found) not in allowed} == {}


def test_every_class_has_a_name_of_its_own():
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")]
    names = Counter(node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    assert [name for name, count in names.items() if count > 1] == []
