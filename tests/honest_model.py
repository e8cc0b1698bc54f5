"""A small model, really trained, in seconds, on a text that is made up: what the functional checks are tried on."""

from functools import cache

from torch import Tensor

from atlas.base.model import Transformer
from atlas.base.pretrain import train
from atlas.base.text import encode
from atlas.draws import rng
from atlas.study.base_settings import Base, Model, Pretraining

SHAPE = Model(layers=2, width=32, heads=2, ffn=64, context=32)
WORDS = ["the", "king", "and", "queen", "shall", "ride", "to", "war", "before"]
WORDS += ["a", "summer", "night", "falls", "upon", "our", "field", "of", "gold"]


@cache
def text(characters: int = 60_000) -> str:
    """Lines of words in which each word depends on the two before it, with a little chance."""
    draw, words = rng("tests", "text"), ["the", "king"]
    while len(words) < characters // 4:
        at = WORDS.index(words[-1]) + 3 * WORDS.index(words[-2]) + int(draw.integers(3))
        words.append(WORDS[at % len(WORDS)])
    return "\n".join(" ".join(words[at : at + 8]) for at in range(0, len(words), 8))[:characters]


@cache
def _weights() -> dict[str, Tensor]:
    base = Base(model=SHAPE, training=Pretraining(steps=250, batch=16, lr=0.01))
    model = train(base, encode(text())[:40_000]).model
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def honest() -> Transformer:
    """The trained model, fresh from its weights, frozen; trained once for all tests of a process."""
    model = Transformer(SHAPE)
    model.load_state_dict(_weights())
    return model.requires_grad_(False).eval()


def unseen():
    """Tokens that the model was not trained on."""
    return encode(text())[-20_000:]
