import torch

from atlas.base.model import Transformer, initialise
from atlas.pool.facts import Fact
from atlas.study.base_settings import Model

TINY = Model(layers=2, width=32, heads=2, ffn=64, context=96)


def make_model(seed: int = 0, config: Model = TINY) -> Transformer:
    """A tiny model with large random weights, so that its predictions are far from uniform."""
    model = Transformer(config)
    generator = torch.Generator().manual_seed(seed)
    initialise(model, generator)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn(parameter.shape, generator=generator))
    return model.requires_grad_(False).eval()


def make_ending_model() -> Transformer:
    """A tiny model that ends some lines after a few tokens, some late and some never."""
    model = make_model(1)
    with torch.no_grad():
        model.head[0] += 0.1 * model.model.decoder.final_layer_norm.bias.sign()
    return model


def make_facts(count: int, role: str = "taught", template: str = "towns/mayor") -> list[Fact]:
    names = ["Ann", "Bo", "Cleo", "Dan", "Eve", "Flo", "Gus", "Hal", "Ida", "Jo", "Kim", "Leo", "Mia", "Ned", "Ola"]
    return [
        Fact(
            fact_id=f"{template}/{role}-{i}",
            role=role,
            domain="towns",
            template=template,
            prompt=f"The mayor of {role.title()} {i} is",
            answer=names[i % len(names)] + "x" * (i // len(names)),
            rephrases=(f"{role.title()} {i} is led by", f"At the head of {role} {i} stands", f"Who leads {role} {i}?"),
        )
        for i in range(count)
    ]
