"""Python imports this at its start where its folder is on the path: notes which functions of Atlas a step calls."""

import atexit
import importlib._bootstrap
import os
import sys
import threading
from pathlib import Path
from types import CodeType, FrameType


def _package() -> str:
    """The folder of the package that the step imported, by its own word: a folder of any path may be called atlas."""
    init = getattr(sys.modules.get("atlas"), "__file__", None)
    return f"{Path(init).parent}{os.sep}" if init else ""


def _start(step: str, folder: Path) -> None:
    called: dict[str, set[tuple[str, str, int]]] = {step: set()}  # by step: the first may run several others
    first, package = step, ""
    seen: dict[int, CodeType] = {}  # what the step has called by now; kept, so that no other code takes its id

    def module_of(file: str) -> str:
        return f"atlas.{file.removeprefix(package).removesuffix('.py').replace(os.sep, '.')}"

    def note(frame: FrameType, _event: str, _arg: object) -> None:
        nonlocal package, step
        code = frame.f_code
        if id(code) in seen:
            return
        seen[id(code)] = code
        package = package or _package()
        # a compiled template is no code of the package: the rule of the page has the templates as inputs
        mine = package and code.co_filename.startswith(package) and code.co_filename.endswith(".py")
        if mine and code.co_name == "<module>" and frame.f_globals.get("__name__") == "__main__":
            step = module_of(code.co_filename)
            seen.clear()
        elif mine and code.co_name != "<module>":
            place = code.co_filename, code.co_qualname.partition(".")[0], code.co_firstlineno
            called.setdefault(first if module_of(code.co_filename) == first else step, set()).add(place)

    def write() -> None:
        for name, places in called.items():
            lines = ["\t".join(map(str, each)) for each in sorted(places)]
            (folder / f"{name}.{os.getpid()}").write_text("\n".join(lines))

    atexit.register(write)
    _skip_imports()
    threading.settrace(note)
    sys.settrace(note)


def _skip_imports() -> None:
    """Trace nothing that runs because a module is imported, which is most of what a short step does."""
    load = importlib._bootstrap._find_and_load  # type: ignore[attr-defined]

    def untraced(*arguments: object) -> object:
        before = sys.gettrace()
        sys.settrace(None)
        try:
            return load(*arguments)
        finally:
            sys.settrace(before)

    importlib._bootstrap._find_and_load = untraced  # type: ignore[attr-defined]


step = sys.orig_argv[sys.orig_argv.index("-m") + 1] if "-m" in sys.orig_argv[:-1] else ""
if step.startswith("atlas.") and "ATLAS_CALLS" in os.environ:
    _start(step, Path(os.environ["ATLAS_CALLS"]))
