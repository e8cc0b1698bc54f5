"""Where the linear layers of an architecture are, by role: all that the engine knows of a model's inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from atlas.study.settings import Role


@dataclass(frozen=True)
class RoleMap:
    """Path of the list of layers in a model, and in a layer the path of each role's linear module."""

    layers: str
    roles: Mapping[Role, str]

    def inside(self, path: str) -> RoleMap:
        """The map of a model that holds this one's at ``path``."""
        return replace(self, layers=f"{path}.{self.layers}")


def _attention(path: str, o: str) -> dict[Role, str]:
    return {"q": f"{path}.q_proj", "k": f"{path}.k_proj", "v": f"{path}.v_proj", "o": f"{path}.{o}"}


OPT = RoleMap("decoder.layers", _attention("self_attn", "out_proj") | {"up": "fc1", "down": "fc2"})
LLAMA = RoleMap(
    "layers",
    _attention("self_attn", "o_proj") | {"gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj"},
)
GPT2 = RoleMap(
    "h",
    {
        "q": "attn.c_attn.q",
        "k": "attn.c_attn.k",
        "v": "attn.c_attn.v",
        "o": "attn.c_proj",
        "up": "mlp.c_fc",
        "down": "mlp.c_proj",
    },
)
GPT_NEOX = RoleMap(
    "layers",
    {
        "q": "attention.query_key_value.q",
        "k": "attention.query_key_value.k",
        "v": "attention.query_key_value.v",
        "o": "attention.dense",
        "up": "mlp.dense_h_to_4h",
        "down": "mlp.dense_4h_to_h",
    },
)

MAPS: Mapping[str, RoleMap] = {
    "opt": OPT,
    "gpt2": GPT2,
    "gpt_neox": GPT_NEOX,
    "llama": LLAMA,
    "mistral": LLAMA,
    "qwen2": LLAMA,
    "qwen3": LLAMA,
}
"""Map by ``model_type``, of the model without its head."""
