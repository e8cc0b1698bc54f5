"""Python imports this at its start where its folder is on the path: notes which functions of Atlas a step calls."""

import atexit
import os
import sys
import threading
from pathlib import Path
from types import FrameType


def _package() -> str:
    """The folder of the package that the step imported, by its own word: a folder of any path may be called atlas."""
    init = getattr(sys.modules.get("atlas"), "__file__", None)
    return f"{Path(init).parent}{os.sep}" if init else ""


def _while_importing(frame: FrameType | None) -> bool:
    while frame:
        if frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") != "__main__":
            return True
        frame = frame.f_back
    return False


def _start(step: str, folder: Path) -> None:
    called: dict[str, set[tuple[str, str, int]]] = {step: set()}  # by step: the first may run several others
    first, package = step, ""

    def module_of(file: str) -> str:
        return f"atlas.{file.removeprefix(package).removesuffix('.py').replace(os.sep, '.')}"

    def note(frame: FrameType, _event: str, _arg: object) -> None:
        nonlocal package, step
        code = frame.f_code
        package = package or _package()
        # a compiled template is no code of the package: the rule of the page has the templates as inputs
        mine = package and code.co_filename.startswith(package) and code.co_filename.endswith(".py")
        if mine and code.co_name == "<module>" and frame.f_globals.get("__name__") == "__main__":
            step = module_of(code.co_filename)
        elif mine and code.co_name != "<module>" and not _while_importing(frame):
            place = code.co_filename, code.co_qualname.partition(".")[0], code.co_firstlineno
            called.setdefault(first if module_of(code.co_filename) == first else step, set()).add(place)

    def write() -> None:
        for name, places in called.items():
            lines = ["\t".join(map(str, each)) for each in sorted(places)]
            (folder / f"{name}.{os.getpid()}").write_text("\n".join(lines))

    atexit.register(write)
    threading.settrace(note)
    sys.settrace(note)


step = sys.orig_argv[sys.orig_argv.index("-m") + 1] if "-m" in sys.orig_argv[:-1] else ""
if step.startswith("atlas.") and "ATLAS_CALLS" in os.environ:
    _start(step, Path(os.environ["ATLAS_CALLS"]))
