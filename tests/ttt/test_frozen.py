"""The watch over the frozen weights: what a run really trained on is compared, never believed."""

from __future__ import annotations

import pytest
import torch

from atlas.errors import AtlasError
from atlas.guard.tensors import fingerprint, sha256_of
from atlas.ttt.engine.lora import Adapters
from atlas.ttt.frozen import Watch, reinitialise
from tests.ttt.tiny_ttt import make_model

DOWN = "model.decoder.layers.1.fc2.weight"


def certified():
    return {name: sha256_of(tensor) for name, tensor in make_model().state_dict().items()}


def test_a_run_on_the_certified_base_changes_nothing():
    model = make_model()
    watch = Watch(model, certified(), declared=[])
    Adapters.attach(model, ["up", "down"], [2, 2], alpha=2)  # moves the layers to other names
    record = watch.close()
    assert record.at_start == record.at_end == fingerprint(make_model().state_dict())
    assert record.changed == record.declared == []


def test_a_declared_reinit_is_found_by_comparing_and_changes_the_fingerprint():
    model = make_model()
    declared = reinitialise(model, ["down"], base_seed=0, seeds=[1, 2])
    record = Watch(model, certified(), declared).close()
    assert record.changed == declared
    assert DOWN in declared
    assert record.at_start != fingerprint(make_model().state_dict())


def test_an_undeclared_change_stops_the_run():
    model = make_model()
    model.get_parameter(DOWN).data[0, 0] += 1e-6
    with pytest.raises(AtlasError, match=rf"^{DOWN}: differs from the certified base; the arm declares no reinit"):
        Watch(model, certified(), declared=[])


def test_a_declaration_that_changes_nothing_stops_the_run():
    with pytest.raises(AtlasError, match=rf"^{DOWN}: is still the certified base's; the arm declares {DOWN}"):
        Watch(make_model(), certified(), declared=[DOWN])


@pytest.mark.parametrize("moved", [DOWN, "model.decoder.embed_tokens.weight"])
def test_a_frozen_weight_that_moved_is_found_at_the_end(moved):
    model = make_model()
    watch = Watch(model, certified(), declared=[])
    Adapters.attach(model, ["down"], [2, 2], alpha=2)
    target = next(tensor for name, tensor in model.state_dict().items() if name.replace(".base.", ".") == moved)
    with torch.no_grad():
        target[0, 0] += 1e-6
    with pytest.raises(AtlasError, match="something trained the base"):
        watch.close()


def test_a_tensor_on_one_side_only_differs():
    with pytest.raises(AtlasError, match="b: differs from the certified base"):
        Watch(make_model(), certified() | {"b": sha256_of(torch.zeros(2))}, declared=[])
