"""What the command lines of all steps share: the spec, the ends (one line, an exit code), the record of a run."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import gc
import importlib.metadata
import platform
import re
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from atlas import __version__
from atlas.errors import AtlasError, DiskFullError
from atlas.workflow import access, interrupts, progress

if TYPE_CHECKING:
    from pydantic import BaseModel

Spec = TypeVar("Spec", bound="BaseModel")

EXIT_MISTAKE = 1
CLEARING_UP = 10  # seconds, after Ctrl-C
EXIT_DISK = 74  # EX_IOERR of sysexits.h


def run_step(main: Callable[[], None]) -> NoReturn:
    """Run a step's ``main`` and turn the errors a user can mend into one line on stderr and in the log.

    Exit codes: 0 done, 1 a mistake in the input or no access, 74 a full disk, 130 Ctrl-C.
    Anything else is a defect of Atlas and keeps its traceback.
    """
    interrupts.raise_once(CLEARING_UP)
    # or Python would search all modules for cycles before it ends: half a second with PyTorch
    atexit.register(gc.freeze)
    try:
        main()
    except KeyboardInterrupt:
        _stop(interrupts.SAID, interrupts.INTERRUPTED)
    except DiskFullError as error:
        _stop(str(error), EXIT_DISK)
    except AtlasError as error:
        _stop(str(error), EXIT_MISTAKE)
    except OSError as error:  # of a log, say: outputs raise DiskFullError
        if said := access.in_words(error):
            _stop(said, EXIT_DISK if error.errno in access.FULL else EXIT_MISTAKE)
        _note_defect()
        raise
    except Exception:
        _note_defect()
        raise
    interrupts.ignore()
    sys.exit(0)


def _note_defect() -> None:
    """Put the traceback of an unforeseen error in the log; a Ctrl-C that came out as one ends the step as such."""
    if interrupts.came():
        _stop(interrupts.SAID, interrupts.INTERRUPTED)
    progress.say(traceback.format_exc(), terminal=False)


def _stop(message: str, code: int) -> NoReturn:
    interrupts.ignore()
    print(f"atlas: error: {message}", file=sys.stderr, flush=True)
    with contextlib.suppress(OSError):  # the log may lie on the disk that is full
        progress.say(f"atlas: error: {message}", terminal=False)
    sys.exit(code)


def parser(module_doc: str | None) -> argparse.ArgumentParser:
    """An argument parser whose help is the step's module docstring and shows defaults."""
    arguments = argparse.ArgumentParser(description=module_doc, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    arguments.add_argument("--log", type=progress.log_to, help="file that gets a copy of all messages")
    return arguments


def add_spec(arguments: argparse.ArgumentParser, kind: type[BaseModel]) -> None:
    """Add ``--spec``: the part of the study that the step depends on, as JSON or as a file that holds it."""
    arguments.add_argument(
        "--spec",
        required=True,
        type=lambda text: parse_spec(kind, text),
        help=f"{kind.__module__}.{kind.__name__} as JSON, or a file with it; `atlas spec` prints the study's",
    )


def add_base(arguments: argparse.ArgumentParser, threads: int) -> None:
    """Add the files of a base, and the threads that compute with it: so many by default."""
    arguments.add_argument("--checkpoint", type=Path, required=True, help="base.safetensors")
    arguments.add_argument("--manifest", type=Path, required=True, help="base.json")
    arguments.add_argument(
        "--threads", type=int, default=threads, help="processor threads; other numbers round otherwise"
    )


def add_certified(arguments: argparse.ArgumentParser) -> None:
    """Add the files of a certified base."""
    add_base(arguments, threads=1)
    arguments.add_argument("--certificate", type=Path, required=True, help="certificate.json; nothing runs without it")


def parse_spec(kind: type[Spec], text: str) -> Spec:
    """Parse a spec given inline or as a path. Raises AtlasError naming the key that is wrong."""
    from pydantic import ValidationError  # not there where the guard is installed alone

    from atlas.study.settings import explain

    inline = text.lstrip().startswith("{")
    if not inline and not Path(text).is_file():
        raise AtlasError(f"--spec {text}: no such file; give JSON or a file that holds it (see `atlas spec --help`)")
    try:
        return kind.model_validate_json(text if inline else Path(text).read_text(encoding="utf-8"))
    except ValidationError as error:
        raise AtlasError(f"--spec: {explain(error)}") from None


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def environment(*packages: str) -> dict[str, Any]:
    """Versions of Python, Atlas and ``packages``, and the host: the part of a record that code cannot tell."""
    return {
        "versions": {
            "python": platform.python_version(),
            "atlas": __version__,
            **{name: importlib.metadata.version(name) for name in packages},
        },
        "host": {
            "name": platform.node(),
            "machine": platform.machine(),
            "processor": processor(),
            "system": platform.platform(),
        },
    }


def processor(described: Path = Path("/proc/cpuinfo")) -> str:
    """The model of processor, by name and numbers: on another one sums round otherwise, and runs differ."""
    if not described.is_file():
        return platform.processor()
    first = described.read_text(encoding="utf-8").partition("\n\n")[0]
    fields = dict(re.findall(r"^(.+?)\s*: (.+)$", first, re.MULTILINE))
    named = {"model name": "", "cpu family": "family ", "model": "model ", "CPU implementer": "", "CPU part": "part "}
    return ", ".join(word + fields[field] for field, word in named.items() if field in fields)
