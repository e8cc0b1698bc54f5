"""What is written down of mis-loaded bases: the weights, and what verification says of them."""

from __future__ import annotations

from pydantic import Field

from atlas.guard.report import Certificate
from atlas.study.settings import Role, Settings


class Misload(Settings):
    """One mis-loaded base, and what verification says of it."""

    reinit: list[Role]
    seeds: list[int] = Field(min_length=1, description="the block of seeds that arms are taught to on these weights")
    missed: list[str] = Field(description="tensors that stayed as they were drawn")
    fingerprint: str
    without_manifest: Certificate = Field(description="from the file, its config and a text")
    with_manifest: Certificate


class MisloadReport(Settings):
    """What ``misloaded.json`` says."""

    misloads: list[Misload]
