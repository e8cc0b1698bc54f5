import pytest

from atlas.base.model import Transformer
from tests.ttt.tiny_ttt import make_model


@pytest.fixture
def model() -> Transformer:
    return make_model()
