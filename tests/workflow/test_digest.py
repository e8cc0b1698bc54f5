"""The code digest: what changes it, what does not, and what it says when it cannot be made."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from atlas.errors import AtlasError
from atlas.workflow import digest

REPOSITORY = Path(__file__).resolve().parents[2]
STEP = '''"""A step."""

import os

from . import near
from toy import registry, tools as kit
from toy.tools import helper


def main(x):
    """Do it."""
    from toy.late import lazy  # a late import counts too

    return helper(x) + lazy(x) + kit.other(near.A) + registry.total()
'''
TOOLS = """from functools import cache
import json
import toy.deep.base as b


@cache
def helper(x):
    return x + b.ONE + _inner(x)


def _inner(x):
    return x


def other(x):
    return Kept().value(x)


class Kept:
    def value(self, x):
        return x


class Unused:
    def value(self, x):
        return json.dumps(x)


def unused(x):
    return Unused().value(x)
"""
REGISTRY = """from toy import plugins
KNOWN = []


def register(function):
    KNOWN.append(function)
    return function


def total():
    return sum(function() for function in KNOWN)
"""
PLUGINS = """from toy import registry


@registry.register
def one():
    return _half() * 2


def _half():
    return 0.5


def free():
    return 2
"""
FILES = {
    "toy/__init__.py": "VERSION = 1\n",
    "toy/step/__init__.py": "",
    "toy/step/run.py": STEP,
    "toy/step/near.py": "A = 1\nB = 2\n",
    "toy/tools.py": TOOLS,
    "toy/registry.py": REGISTRY,
    "toy/plugins.py": PLUGINS,
    "toy/deep/__init__.py": "SIDE = 0\n",
    "toy/deep/base.py": "from .. import consts\n\nONE = consts.ONE\n",
    "toy/consts.py": "ONE = 1\nTWO = 2\n",
    "toy/late.py": "def lazy(x):\n    return x\n\n\ndef later(x):\n    return x\n",
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


def edited(name, old, new):
    assert FILES[name].count(old) == 1, (name, old)
    return {name: FILES[name].replace(old, new)}


def added(name, text):
    return {name: FILES[name] + text}


@pytest.mark.parametrize(
    "edit",
    [
        edited("toy/step/run.py", "helper(x) + lazy(x)", "helper(x) - lazy(x)"),
        edited("toy/step/run.py", "main(x):", "main(x, y=0):"),
        added("toy/step/run.py", "\n\ndef further():\n    return 1\n"),  # of the step's own module all counts
        edited("toy/step/near.py", "A = 1", "A = 2"),
        edited("toy/tools.py", "x + b.ONE", "x * b.ONE"),
        edited("toy/tools.py", "def _inner(x):\n    return x", "def _inner(x):\n    return -x"),
        edited(
            "toy/tools.py", "class Kept:\n    def value(self, x):\n        return x", "class Kept:\n    value = int"
        ),
        edited("toy/tools.py", "@cache\n", ""),
        edited("toy/tools.py", "from functools import cache", "from functools import lru_cache as cache"),
        edited("toy/deep/base.py", "consts.ONE", "consts.ONE + 0"),
        edited("toy/deep/base.py", "consts.ONE", "consts.TWO"),
        edited("toy/consts.py", "ONE = 1", "ONE = 1.0"),
        edited("toy/late.py", "def lazy(x):\n    return x", "def lazy(x):\n    return -x"),
        edited("toy/plugins.py", "_half() * 2", "_half() * 3"),  # nobody names it: it registers itself
        edited("toy/plugins.py", "return 0.5", "return 0.25"),
        edited("toy/registry.py", "KNOWN = []", "KNOWN = [int]"),
        {"toy/step/__init__.py": "import sys\n"},  # an import that nobody uses is there for what it does
        {"toy/__init__.py": "print('hello')\n"},
        {"toy/__init__.py": "def __getattr__(name):\n    raise AttributeError(name)\n"},
        added("toy/tools.py", "helper = other\n"),  # the same name, bound again
        added("toy/tools.py", "\n\nb.ONE = 3\n"),  # code that runs at import
        added("toy/tools.py", "if b.ONE:\n    FLAG = 1\n"),
        added("toy/tools.py", "SEEDED = b.seed(1)\n"),  # a call may do more than give a value
        added("toy/tools.py", "MADE = other(1)\n"),
        added("toy/tools.py", "LISTED = list(map(other, [1]))\n"),
        added("toy/tools.py", "class Listed(list):\n    made = other(1)\n"),
        added("toy/tools.py", "from os import *\n"),
        added("toy/tools.py", "class Child(Kept, metaclass=b.Meta):\n    pass\n"),  # a metaclass may, too
    ],
)
def test_real_edits_change_it(toy, edit):
    assert toy(edit) != toy()


@pytest.mark.parametrize(
    "edit",
    [
        edited("toy/step/run.py", "Do it.", "Do it well."),
        edited("toy/step/run.py", "A step.", "The step."),
        edited("toy/step/run.py", "import os\n", "import os  # why\n\n\n"),
        edited("toy/step/run.py", "helper(x) + lazy(x)", "(helper(x))  +  lazy( x )"),
        edited("toy/tools.py", "def helper(x):\n", 'def helper(x):\n    """Help."""\n'),
        edited("toy/tools.py", "json.dumps(x)", "json.dumps(x, indent=2)"),
        edited("toy/tools.py", "return Unused().value(x)", "return None"),
        edited("toy/tools.py", "import json", "import ujson as json"),
        edited("toy/tools.py", "class Unused:", "class Unused(Kept):"),
        edited("toy/step/near.py", "B = 2", "B = 3"),
        edited("toy/consts.py", "TWO = 2", "TWO = 3"),
        edited("toy/plugins.py", "return 2", "return 3"),
        edited("toy/late.py", "def later(x):\n    return x", "def later(x):\n    return -x"),
        {"toy/__init__.py": "VERSION = 2\n"},
        {"toy/deep/__init__.py": "SIDE = 1\n"},
        added("toy/tools.py", "\n\ndef new(x):\n    return helper(x)\n"),
        added(
            "toy/tools.py", "from pathlib import Path\nHERE = Path('here')\n\n\n@cache\ndef here():\n    return HERE\n"
        ),
        added("toy/tools.py", "class Child(Kept):\n    made: Kept = Kept()\n    names = [str(n) for n in range(3)]\n"),
        added("toy/tools.py", "if __name__ == '__main__':\n    helper(1)\n"),  # runs only where tools is the program
        added("toy/tools.py", "HELPERS = [helper for helper in ()]\n"),  # names of its own
        {"toy/unrelated.py": "x = 1\n"},
        {"toy/new.py": "x = 1\n"},
        {"toy/step/data.tsv": "1\n"},
    ],
)
def test_other_edits_do_not(toy, edit):
    assert toy(edit) == toy()


@pytest.mark.parametrize(
    "use",
    [
        "getattr(kit, 'un' + 'used')(1)",  # a module handed about
        "vars(kit)['unused'](1)",
        "kit.Kept.__subclasses__()",
        "kit.missing(1)",  # a name that is not found: __getattr__, or set from outside
        "(lambda kit=kit: kit.unused)()(1)",
    ],
)
def test_in_doubt_a_module_counts_whole(toy, use):
    step = edited("toy/step/run.py", "return helper(x)", f"{use}\n    return helper(x)")
    assert toy({**step, **edited("toy/tools.py", "return Unused().value(x)", "return None")}) != toy(step)


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        ("from toy.tools import *", True),
        ("from toy import tools", False),  # known by name, and none of its names is used
        ("import importlib\nunused = importlib.import_module('toy.tools').unused", True),
    ],
)
def test_what_an_import_takes_in(toy, line, counts):
    step = {"toy/step/run.py": f"{line}\n\n\ndef main(x):\n    return unused(x)\n"}
    assert (toy({**step, **edited("toy/tools.py", "Unused().value(x)", "None")}) != toy(step)) is counts


@pytest.mark.parametrize(
    ("argument", "body", "counts"),
    [
        ("kit=None", "pass", False),
        ("*kit", "pass", False),
        ("y=kit", "pass", True),
        ("y=0", "global kit; kit = y", True),
        ("y=0", "def kit(): pass", False),
    ],
)
def test_an_argument_hides_a_module_of_the_same_name(toy, argument, body, counts):
    step = {"toy/step/run.py": FILES["toy/step/run.py"].replace("main(x):", f"main(x, {argument}):\n    {body}", 1)}
    assert (toy({**step, **edited("toy/tools.py", "Kept().value(x)", "x")}) != toy(step)) is counts


def test_the_parts_name_the_modules_that_changed(toy, tmp_path):
    toy()
    toy({**edited("toy/late.py", "lazy(x):\n    return x", "lazy(x):\n    return -x"), "toy/unrelated.py": "x = 1\n"})
    before, after = (set(digest.code_parts("toy.step.run", tmp_path / name)) for name in "01")
    assert {part.partition("=")[0] for part in before ^ after} == {"toy.late"}


def test_it_names_the_definitions_that_count(toy, tmp_path):
    toy()
    found = digest.definitions_of("toy.step.run", tmp_path / "0")
    assert set(found) == {
        *("toy.step.run", "toy.step.near", "toy.tools", "toy.registry", "toy.plugins"),
        *("toy.deep.base", "toy.consts", "toy.late"),
    }
    assert found["toy.tools"] == ["Kept", "_inner", "b", "cache", "helper", "other"]
    assert found["toy.plugins"] == ["_half", "one", "registry"]
    assert found["toy.consts"] == ["ONE"]


def test_a_new_module_that_takes_over_an_imported_name_counts(toy):
    # `from toy.tools import helper` may mean the module toy/tools/helper.py once tools is a package
    package = {"toy/tools/__init__.py": FILES["toy/tools.py"]}
    assert toy({**package, "toy/tools/helper.py": "print(1)\n"}) != toy(package)


def test_a_folder_without_init_is_a_package_too(toy):
    step = {"toy/step/run.py": "from toy.space import part\n\n\ndef main(x):\n    return part.one(x)\n"}
    one, other = ({**step, "toy/space/part.py": f"def one(x):\n    return x * {n}\n"} for n in (1, 2))
    assert toy(one) != toy(other)


def test_circles_end(toy):
    circle = {
        "toy/step/run.py": "from toy.a import x\n\n\ndef main():\n    return x\n",
        "toy/a.py": "from toy.b import x\n",
        "toy/b.py": "from toy.a import x\n\n\n@x\ndef y():\n    pass\n",
    }
    assert toy(circle)


def test_a_syntax_error_names_file_and_line_and_leaves_other_steps_alone(toy):
    broken = {"toy/tools.py": "def helper(x:\n    return x\n"}
    with pytest.raises(AtlasError, match=r"toy/tools\.py, line 1: .*mend the syntax"):
        toy(broken)
    assert toy(broken, "toy.late") == toy(module="toy.late")


def test_a_missing_module_is_named(toy):
    with pytest.raises(AtlasError, match=r"toy\.stop\.run: no such module"):
        toy(module="toy.stop.run")


SAYING = '''"""A step that talks."""

import argparse

from pydantic import BaseModel, Field

from toy.errors import Mistake, Rich
from toy.tools import other

__version__ = "1"
LIMIT = 3


class Spec(BaseModel):
    size: int = Field(4, ge=0, description="how many", title="Size")


def options():
    parser = argparse.ArgumentParser(description="Does it.", epilog="That is all.")
    parser.add_argument("--size", type=int, default=LIMIT, metavar="N", help=f"how many (default: {LIMIT})")
    return parser


def main(size):
    assert size, "no size"
    if size > LIMIT:
        raise Mistake(f"size: {size:,} is too large, " + ("found" if other(size) else "expected") + f" {LIMIT}")
    if size < 0:
        raise Rich("negative", "a size")
    if size == 0:
        raise StopIteration("value")
    try:
        check(size)
    except ValueError as error:
        raise Mistake(f"{error}") from error


def check(size):
    raise ValueError(f"{size} is odd")
'''
ERRORS = """class Mistake(Exception):
    pass


class Rich(Exception):
    def __init__(self, text, more):
        self.more = more
"""


@pytest.fixture
def talking(toy):
    """The digest of a step that talks, with its texts replaced."""

    def digest_with(*replaced, more=""):
        text = SAYING
        for old, new in replaced:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        return toy({"toy/step/run.py": text + more, "toy/errors.py": ERRORS})

    return digest_with


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('__version__ = "1"', '__version__ = "2"'),
        ('description="how many"', 'description="so many"'),
        (', title="Size"', ""),
        ('description="Does it."', 'description="Does it well."'),
        ("That is all.", "pathlib.Path"),  # a name in quotes is followed elsewhere
        (', metavar="N"', ', metavar="SIZE"'),
        ("how many (default: {LIMIT})", "so many"),
        ("how many (default: {LIMIT})", "how many ({LIMIT!r})"),
        ('assert size, "no size"', 'assert size, f"no size: {size}"'),
        ("size: {size:,} is too large", "too large: {size:>10}"),
        ('"found"', '"seen"'),
        ("{size} is odd", "odd"),
    ],
)
def test_texts_for_people_change_nothing(talking, old, new):
    assert talking((old, new)) == talking()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Field(4", "Field(5"),
        ("ge=0", "ge=1"),
        ('"--size", type', '"--length", type'),
        ("default=LIMIT", "default=4"),
        ("LIMIT = 3", "LIMIT = 4"),
        ("assert size,", "assert not size,"),
        ("other(size)", "other(-size)"),  # what is called to make a text is code
        ('raise Mistake(f"size', 'raise KeyError(f"size'),
        ('"negative"', '"below zero"'),  # an error of its own making may do anything with it
        ('"value"', '"other"'),  # this is what a generator returns
        ("raise ValueError(f", "raise OSError(f"),
        ("except ValueError", "except OSError"),
    ],
)
def test_all_that_they_stand_beside_counts(talking, old, new):
    assert talking((old, new)) != talking()


def test_a_keyword_of_the_same_name_counts_elsewhere(talking):
    own = ("from pydantic import BaseModel, Field", "from pydantic import BaseModel\nfrom toy.mine import Field")
    assert talking(own, ('description="how many"', 'description="so many"')) != talking(own)


@pytest.mark.parametrize(
    ("handler", "counts"),
    [
        ("except ValueError: pass", False),
        ("except ValueError as error: raise", False),
        ("except ValueError as error: raise error", False),
        ("except ValueError as error: print(error)", False),
        ("except ValueError as error: leave(str(error))", False),  # annotated so that it never returns
        ("except KeyError as error: return str(error)", False),
        ("except ValueError as error: return str(error)", True),
        ("except (KeyError, ValueError) as error: return str(error)", True),
        ("except Exception as error: return error.args", True),
        ("except unknown() as error: return error.args", True),
        ("except ValueError as error: noted.append(str(error))", True),
        ("except ValueError as error: keep(str(error))", True),
        ("except ValidationError as error: return str(error)", True),  # a validator's error comes out as this one
    ],
)
def test_a_message_counts_where_code_reads_it(talking, handler, counts):
    reader = f"""
from typing import NoReturn
from pydantic import ValidationError
noted = []


def leave(text) -> NoReturn:
    raise SystemExit(text)


def keep(text) -> None:
    noted.append(text)


def reader(size):
    try:
        check(size)
    {handler}
"""
    changed = talking(("{size} is odd", "odd: {size}"), more=reader) != talking(more=reader)
    assert changed is counts


def test_a_message_counts_where_another_one_takes_it_up(talking):
    """ValueError becomes Mistake in ``main``, and this is what reads it."""
    reader = (
        "\n\ndef reader(size):\n    try:\n        main(size)\n    except Mistake as error:\n        return str(error)\n"
    )
    assert talking(("{size} is odd", "odd: {size}"), more=reader) != talking(more=reader)


def test_a_process_digests_as_another_one_does(tmp_path):
    """Neither where objects lie nor how texts are hashed counts, also in a message that is read."""
    (tmp_path / "toy.py").write_text(
        "try:\n    raise ValueError('it is ' + 'odd' + f'{1:>{2}}')\n"
        "except ValueError as error:\n    KEPT = str(error)\n"
    )
    asked = "from atlas.workflow import digest; print(digest.code_digest('toy', root='.'))"
    said = {
        subprocess.run(
            [sys.executable, "-c", asked],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in range(4)
    }
    assert len(said) == 1


@pytest.mark.parametrize("name", ["toy/__init__.py", "toy/step/__init__.py"])
def test_the_packages_above_a_step_count_where_they_do_something(toy, name):
    """Python runs them before the step."""
    effect = {name: "import os\n\nfrom toy import consts\n\nos.environ['N'] = str(consts.TWO)\n"}
    assert toy(effect) != toy()
    assert toy({**effect, **edited("toy/consts.py", "TWO = 2", "TWO = 3")}) != toy(effect)
