import pytest
from tiny_ttt import make_model

from atlas.base.model import Transformer


@pytest.fixture
def model() -> Transformer:
    return make_model()
