"""What a name of a plugin stands for: the only place that imports code by the name that a study or a package gives."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from atlas.errors import PluginError
from atlas.phrases import listed

# not whole names: the digest would take one of them for the module that is called so
EDITORS, ADAPTERS, METRICS, READERS = (f"atlas.{what}" for what in ("editors", "adapters", "metrics", "pool_readers"))
BASES = {
    EDITORS: "atlas.ttt.editors.editor.Editor",
    ADAPTERS: "atlas.ttt.engine.adapter.TrainableAdapter",
    READERS: "atlas.pool.readers.PoolReader",
}
"""The class that those of a group are derived from. It is known by its name, since to import it may take PyTorch."""
PATTERN = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"
"""``package.module:Name``."""
HOW_TO_INSTALL = (
    "install its package (`pip install .`) or put the folder above it on PYTHONPATH; nothing is imported from the "
    "folder where a command runs"
)


@cache
def installed(group: str) -> Mapping[str, str]:
    """The entry points of a group: name to ``package.module:Name``, by name.

    Raises PluginError where two packages give one name to different things, or an entry point names no such thing.
    """
    found: dict[str, str] = {}
    for point in sorted(entry_points(group=group), key=lambda point: (point.name, point.value)):
        if not re.fullmatch(PATTERN, point.value):
            raise PluginError(
                f"entry point {point.name} of {group}: found {point.value!r}, expected my_package.module:Name; mend "
                "the pyproject.toml of its package and install that again"
            )
        if found.setdefault(point.name, point.value) != point.value:
            raise PluginError(
                f"entry point {point.name} of {group}: {found[point.name]} and {point.value} both have this name; "
                "uninstall one of the two packages, or rename one"
            )
    return found


def reference_of(name: str, *groups: str) -> str | None:
    """``package.module:Name``, where ``name`` is that or an entry point of one of the groups; None where it is neither.

    Raises PluginError as ``installed`` does.
    """
    if re.fullmatch(PATTERN, name):
        return name
    return next((found for group in groups if (found := installed(group).get(name))), None)


@cache
def load(reference: str) -> Any:
    """What ``package.module:Name`` stands for. PluginError where there is no such module or name, or it is broken."""
    module, _, name = reference.partition(":")
    try:
        EntryPoint(reference, module, "").load()
    except ModuleNotFoundError as error:
        if error.name and f"{module}.".startswith(f"{error.name}."):
            raise PluginError(f"{reference}: there is no module {error.name!r}; {HOW_TO_INSTALL}") from None
        raise PluginError(f"{reference}: its module needs {error.name!r}, which is not there; install that") from None
    except Exception as error:  # whatever another's code raises
        raise PluginError(
            f"{reference}: its module cannot be imported ({type(error).__name__}: {' '.join(str(error).split())}); "
            "mend it"
        ) from None
    try:
        return EntryPoint(reference, reference, "").load()
    except AttributeError:
        raise PluginError(f"{reference}: {module} has no {name!r}; write a name that it has") from None


def load_class(reference: str, *groups: str) -> tuple[type[Any], str]:
    """The class that a name stands for, and its group. PluginError where it is none, or lacks what is asked for."""
    found = load(reference)
    wanted = {BASES[group]: group for group in groups}
    expected = f"expected a class derived from {' or '.join(wanted)}"
    if not isinstance(found, type):
        raise PluginError(f"{reference}: found {type(found).__name__} {found!r:.60}, {expected}; see docs/plugins.md")
    above = [f"{base.__module__}.{base.__qualname__}" for base in found.__mro__[1:]]
    for base in found.__mro__[1:]:
        if getattr(base, "__final__", False):
            raise PluginError(f"{reference}: derived from {base.__name__}, which is not to be changed; {expected}")
    group = next((wanted[base] for base in above if base in wanted), None)
    if group is None:
        raise PluginError(f"{reference}: derived from {listed(above)}, {expected}; see docs/plugins.md")
    if lacking := sorted(getattr(found, "__abstractmethods__", ())):
        raise PluginError(f"{reference}: it lacks {listed(lacking)}; write what docs/plugins.md says of it")
    return found, group


def home_of(module: str) -> Path | None:
    """The folder that holds the package of a module, without importing it; None where there is none."""
    spec = find_spec(module.partition(".")[0])
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).parent
    return Path(spec.origin).parent if spec.origin else None
