"""A small trained model of another project's architecture, to be damaged."""

import pytest

from atlas.audit import foreign_damage
from atlas.audit.foreign_damage import ForeignBench
from atlas.audit.foreign_models import fresh
from atlas.study.config import Guard
from tests.guard.trained_models import config_of, honest
from tests.honest_model import text


@pytest.fixture(scope="session")
def bench(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(foreign_damage, "trained", lambda *_: honest("llama"))
        patch.setattr(foreign_damage, "fresh", lambda name, seed: fresh(name, seed, config_of(name)))
        return ForeignBench(tmp_path_factory.mktemp("bench"), Guard(modules=1), "llama", text(300_000))
