import shutil

import pytest

from atlas.base.model import Transformer
from tests.ttt.tiny_run import make_inputs, teach
from tests.ttt.tiny_ttt import make_model


@pytest.fixture
def model() -> Transformer:
    return make_model()


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    """What a run needs, see ``make_inputs``."""
    return make_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture
def spoilt(inputs, tmp_path):
    """A copy of the inputs that a test may damage."""
    return shutil.copytree(inputs, tmp_path / "inputs")


@pytest.fixture(scope="session")
def run(inputs, tmp_path_factory):
    return teach(inputs, tmp_path_factory.mktemp("run") / "1-2")
