"""The code of plugins in the digests of the steps that run it: an edit of one reruns what it made, and no more."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable

from atlas.errors import AtlasError
from atlas.plugins.loading import HOW_TO_INSTALL, METRICS, home_of, installed
from atlas.workflow.digest import ROOT, code_digest, code_parts, names_imported

REGISTRY = "atlas.metrics"  # whoever reaches it runs the metrics of plugins


def parts_of(step: str, references: Iterable[str], without: Collection[str] = (), metrics: bool = True) -> list[str]:
    """What a step's outputs rest on, as of ``code_parts``, the code of plugins included.

    Of a plugin the code counts that is reached from its name in its own package, and what that imports of Atlas, beside
    what the step reaches.

    Args:
        references: ``package.module:Name`` of what the step runs.
        without: as of ``code_parts``.
        metrics: whether those of plugins count in steps that read the registry.
    """
    parts = code_parts(step, without=without)
    named = [*references]
    if metrics and any(part.startswith(f"{REGISTRY}=") for part in parts):
        named += installed(METRICS).values()
    return merged([parts, *(part for reference in named for part in _parts(reference, without))])


def digest_of(step: str, reference: str | None) -> str:
    """Digest of a step's code with that of a plugin, as of ``code_digest``; without a plugin, of the step alone."""
    own = code_digest(step)
    if reference is None:
        return own
    text = "\n".join([own, *(f"{part}" for parts in _parts(reference) for part in parts)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def merged(several: Iterable[Iterable[str]]) -> list[str]:
    """The parts of several codes as those of one: where two differ in what they reach of a module, a hash of both."""
    found: dict[str, set[str]] = {}
    for part in (part for parts in several for part in parts):
        name, _, said = part.partition("=")
        found.setdefault(name, set()).add(said)
    return sorted(
        f"{name}={said.pop() if len(said) == 1 else hashlib.sha256(repr(sorted(said)).encode()).hexdigest()[:12]}"
        for name, said in found.items()
    )


def _parts(reference: str, without: Collection[str] = ()) -> list[list[str]]:
    """The parts of a plugin's code, and of each name of Atlas that it imports."""
    home = home_of(reference)
    if home is None:
        raise AtlasError(f"{reference}: there is no such module; {HOW_TO_INSTALL}")
    own = [part for part in code_parts(reference, home, without) if not part.startswith("atlas-facts==")]
    return [own, *(code_parts(name, ROOT, without) for name in names_imported(reference, home, "atlas"))]
