"""Pretraining: its schedule, its windows, its optimiser, and that it learns and repeats itself."""

import numpy as np
import pytest
import torch

from atlas.base.model import draws, fresh
from atlas.base.muon import Muon, orthogonalise
from atlas.base.pretrain import _rate, _windows, main, train
from atlas.base.text import encode
from atlas.draws import rng
from atlas.errors import AtlasError
from atlas.guard.tensors import fingerprint
from atlas.study.base_settings import Base, Model, Pretraining

TEXT = encode("Shall I compare thee to a summer's day? Thou art more lovely and more temperate.\n" * 60)
TINY = Base(
    model=Model(layers=2, width=32, heads=2, ffn=64, context=32),
    training=Pretraining(steps=40, batch=8, warmup=0.1, decay=0.5),
)


def test_training_learns_and_repeats_itself():
    once, again = train(TINY, TEXT), train(TINY, TEXT)
    assert fingerprint(once.model.state_dict()) == fingerprint(again.model.state_dict())
    assert once.tokens == 40 * 8 * 32
    rows = torch.from_numpy(TEXT[:33].astype(np.int64))[None]
    loss = torch.nn.functional.cross_entropy(once.model(rows[:, :-1])[0], rows[0, 1:]).item()
    assert loss < 3.0 < np.log(96)


def test_another_seed_is_another_model():
    other = train(TINY.model_copy(update={"seed": 1}), TEXT)
    assert fingerprint(other.model.state_dict()) != fingerprint(train(TINY, TEXT).model.state_dict())


def test_the_rate_rises_stays_and_falls():
    plan = Pretraining(steps=100, warmup=0.1, decay=0.4)
    assert [_rate(plan, step) for step in (0, 4, 9, 10, 60, 80, 99)] == pytest.approx([0.1, 0.5, 1, 1, 1, 0.5, 0.025])
    assert _rate(Pretraining(steps=10, warmup=0, decay=0), 9) == 1


def test_windows_cover_the_text_once_an_epoch():
    tokens = np.arange(200, dtype=np.uint8)
    config = Base(model=Model(width=8, heads=2, context=16), training=Pretraining(batch=3))
    windows = _windows(config, tokens)
    rows = torch.cat([next(windows) for _ in range(4)])[:11]  # 11 or 12 windows of 16 fit, whatever the shift
    assert rows.shape[1] == 17
    assert (rows.diff(dim=1) == 1).all()
    starts = rows[:, 0].tolist()
    assert len(set(starts)) == 11
    assert len({start % 16 for start in starts}) == 1
    assert starts != sorted(starts)


def test_a_text_shorter_than_two_windows_is_refused():
    with pytest.raises(AtlasError, match="corpus: 60 characters to train on, expected at least 65"):
        train(TINY, TEXT[:60])


def test_orthogonalising_keeps_the_singular_vectors():
    stack = torch.randn(3, 40, 12, generator=torch.Generator().manual_seed(0))
    u, _, v = torch.linalg.svd(stack, full_matrices=False)
    inside = u.mT @ orthogonalise(stack) @ v.mT  # diagonal, if and only if the singular vectors are kept
    values = inside.diagonal(dim1=1, dim2=2)
    assert (inside - torch.diag_embed(values)).abs().max() < 1e-3
    assert ((values > 0.6) & (values < 1.3)).all()


def test_muon_is_torchs_muon_but_for_its_bfloat16():
    """The oracle iterates in bfloat16, so directions agree to a few per cent and no better."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(24, 16, generator=generator)
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    mine = Muon([ours], lr=0.1, momentum=0.9, weight_decay=0.1)
    oracle = torch.optim.Muon([theirs], lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True)
    for _ in range(5):
        ours.grad = torch.randn(24, 16, generator=generator)
        theirs.grad = ours.grad.clone()
        mine.step()
        oracle.step()
    moved, expected = ours.detach() - start, theirs.detach() - start
    assert torch.nn.functional.cosine_similarity(moved.ravel(), expected.ravel(), dim=0) > 0.995
    assert moved.norm().item() == pytest.approx(expected.norm().item(), rel=0.03)


def test_the_first_replica_keeps_the_draws_of_a_study_of_one_base():
    shape = Model(layers=1, width=16, heads=2, ffn=16, context=16)
    first = fresh(shape, 3).get_parameter("model.decoder.layers.0.fc1.weight")
    assert first[0, :4].tolist() == pytest.approx([0.0025609892, 0.0289113801, -0.0048178327, -0.0003780381], abs=1e-7)
    assert draws(3, 1, "windows").integers(1000, size=5).tolist() == [293, 997, 60, 23, 666]
    assert draws(3, 1, "init").integers(2**62) == rng(3, "base", "init").integers(2**62)


def test_replicas_differ_in_initialisation_and_order_of_the_text():
    tokens = encode("To be, or not to be, that is the question.\n" * 40)
    starts, losses = set(), set()
    for replica in (1, 2, 3):
        one = TINY.model_copy(update={"training": Pretraining(steps=1, batch=4), "replica": replica})
        starts.add(fingerprint(fresh(one.own, one.seed, one.replica).state_dict()))
        losses.add(draws(one.seed, one.replica, "windows").integers(2**62))
        assert fingerprint(train(one, tokens).model.state_dict()) == fingerprint(train(one, tokens).model.state_dict())
    assert len(starts) == len(losses) == 3


def test_the_command_writes_checkpoint_and_manifest(tmp_path):
    corpus, checkpoint, manifest = (tmp_path / name for name in ("corpus.txt", "base.safetensors", "base.json"))
    corpus.write_text("To be, or not to be, that is the question.\n" * 40)
    paths = ["--corpus", str(corpus), "--checkpoint", str(checkpoint), "--manifest", str(manifest)]
    spec = TINY.model_copy(update={"training": Pretraining(steps=4, batch=4)})
    main(["--spec", spec.model_dump_json(), *paths, "--threads", "1"])
    first = checkpoint.read_bytes()
    main(["--spec", spec.model_dump_json(), *paths, "--threads", "1"])
    assert checkpoint.read_bytes() == first
    assert '"val_loss"' in manifest.read_text()
