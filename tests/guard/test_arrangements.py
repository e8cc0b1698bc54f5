"""The functional checks of foreign models: the honest arrangement is the best, whatever is out of place is named."""

import math

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

import atlas
from atlas.audit.foreign_models import fresh
from atlas.base.inspection import inspect
from atlas.draws import rng
from atlas.errors import AtlasError
from atlas.guard import arrangements
from atlas.guard.arrangements import CausalProbe, affordable, functional, guesses, plan_of, windows
from atlas.guard.blueprints import blueprint
from atlas.guard.faults.foreign import KINDS
from atlas.guard.faults.kinds import Patient, Subject
from atlas.guard.foreign_text import load, tokens_of
from atlas.guard.wiring import moved
from tests.guard.trained_models import KEPT, folder_of, honest, unseen
from tests.honest_model import text

pytestmark = pytest.mark.xdist_group("arrangements")  # one worker makes its models

FOUR = ("llama", "gpt2", "gpt_neox", "qwen2")
TOKENS = 1300  # enough for these models, and quick


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    torch.set_num_threads(1)


def judged(model, **how):
    """Checks that fail, each with the tensors that it names."""
    return {check.name: check.tensors for check in functional(model, unseen()[:TOKENS], **how) if not check.passed}


@pytest.mark.parametrize("name", FOUR)
def test_an_honest_model_passes_and_is_left_as_it_was(name):
    model = honest(name).train()
    before = {key: values.clone() for key, values in model.state_dict().items()}
    assert judged(model) == {}
    assert all(torch.equal(values, before[key]) for key, values in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert not any("forward" in module.__dict__ or module._forward_hooks for module in model.modules())


def damaged(name, kind, place):
    """A trained model whose weights are damaged, as a converter or a loader does it."""
    model = honest(name)
    tensors = {key: values.detach().clone() for key, values in model.state_dict().items()}
    tensors = {key.replace("lm_head", "embed_out") if name == "gpt_neox" else key: at for key, at in tensors.items()}
    (each,) = (each for each in KINDS if each.name == kind)
    to = Patient.of(Subject(model.config.to_dict(), tensors, tensors), rng(0, kind))
    assert place in each.places(to.subject)
    each.damage(to, place)
    back = {key.replace("embed_out", "lm_head"): values for key, values in to.tensors.items()}
    model.load_state_dict(back)
    return model


LAYER = "model.layers.1."


@pytest.mark.parametrize(
    ("name", "kind", "place", "check", "tensor"),
    [
        ("llama", "q and k in the other rope order", "all", "rotary", f"{LAYER}self_attn.q_proj.weight"),
        ("gpt_neox", "q and k in the other rope order", "all", "rotary", "gpt_neox.layers.0.attention.query_key_value"),
        ("qwen2", "q in the other rope order", "all", "rotary", f"{LAYER}self_attn.q_proj.weight"),
        ("llama", "k and v exchanged", "all", "siblings", f"{LAYER}self_attn.k_proj.weight"),
        ("qwen2", "k and v exchanged", "1", "siblings", f"{LAYER}self_attn.v_proj.weight"),
        ("gpt2", "q and k exchanged", "0", "siblings", "transformer.h.0.attn.c_attn.weight"),
        ("gpt_neox", "q and k exchanged", "all", "siblings", "gpt_neox.layers.0.attention.query_key_value.weight"),
        ("llama", "gate and up exchanged", "all", "siblings", f"{LAYER}mlp.gate_proj.weight"),
        ("qwen2", "gate and up exchanged", "1", "siblings", f"{LAYER}mlp.up_proj.weight"),
        ("gpt2", "two layers exchanged", "0 1", "layers", "transformer.h.0.mlp.c_fc.weight"),
        ("llama", "layers one place on", "all", "layers", f"{LAYER}mlp.gate_proj.weight"),
        ("gpt2", "a layer's norms exchanged", "all", "siblings", "transformer.h.1.ln_1.weight"),
        ("llama", "norms less one", "all", "offset", f"{LAYER}input_layernorm.weight"),
        ("gpt_neox", "norms plus one", "all", "offset", "gpt_neox.layers.0.input_layernorm.weight"),
        ("llama", "embedding and head exchanged", "all", "ends", "lm_head.weight"),
        ("gpt2", "sign of a matrix", "1 v", "sign", "transformer.h.1.attn.c_attn.weight"),
        ("qwen2", "sign of a matrix", "1 down", "sign", f"{LAYER}mlp.down_proj.weight"),
        ("llama", "a matrix, by 1000", "1 k", "scale", f"{LAYER}self_attn.k_proj.weight"),
        ("gpt2", "transposed", "1 o", "transposed", "transformer.h.1.attn.c_proj.weight"),
        ("gpt_neox", "heads one place on", "1 v", "heads", "gpt_neox.layers.1.attention.query_key_value.weight"),
    ],
)
def test_what_is_in_the_wrong_place_is_named(name, kind, place, check, tensor):
    failed = judged(damaged(name, kind, place))
    assert check in failed
    assert any(found.startswith(tensor) for found in failed[check])


def test_the_move_that_mends_the_model_is_told_first():
    checks = functional(damaged("llama", "gate and up exchanged", "all"), unseen()[:TOKENS])
    detail = next(check.detail for check in checks if check.name == "siblings")
    assert detail.startswith(
        "model.layers.*.mlp.gate_proj.weight and model.layers.*.mlp.up_proj.weight: the loss falls"
    )


@pytest.mark.parametrize(
    ("name", "keys", "title"),
    [
        ("llama", {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}, "num_attention_heads 4"),
        ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 10.0}}, "rope_theta 10000"),
        ("gpt2", {"activation_function": "relu"}, "activation_function gelu_new"),
    ],
)
def test_another_config_that_fits_the_weights_better_is_told(name, keys, title):
    model = honest(name)
    for key, value in keys.items():
        setattr(model.config, key, value)
    wrong = type(model)(model.config)
    wrong.load_state_dict(model.state_dict())
    failed = [check for check in functional(wrong, unseen()[:TOKENS]) if check.name == "config"]
    assert [check.passed for check in failed] == [False]
    assert f"{title}: the loss falls by" in failed[0].detail


def test_larger_logits_are_no_alarm():
    """A model may be too sure of itself, or not sure enough; more so where it meets text of another kind."""
    model = honest("llama")
    model.get_parameter("model.norm.weight").mul_(0.6)
    assert judged(model) == {}


def test_weights_that_were_never_loaded_predict_no_better_than_a_guess():
    assert "predicts" in judged(fresh("llama", 3).requires_grad_(False))
    model = honest("llama")
    model.get_parameter("model.norm.weight").fill_(torch.nan)
    assert judged(model) == {"predicts": []}


def test_weights_are_put_back_when_the_model_fails_in_the_midst_of_it():
    model, runs = honest("llama"), 0
    before = {key: values.clone() for key, values in model.state_dict().items()}
    whole = model.forward

    def breaking(*args, **more):
        nonlocal runs
        runs += 1
        if runs > 20:
            raise RuntimeError("out of memory")
        return whole(*args, **more)

    model.forward = breaking
    with pytest.raises(RuntimeError, match="out of memory"):
        functional(model, unseen()[:TOKENS])
    assert all(torch.equal(values, before[key]) for key, values in model.state_dict().items())
    assert all("forward" not in layer.__dict__ for layer in model.model.layers)


@pytest.mark.parametrize("name", FOUR)
def test_every_move_is_undone_bit_by_bit_and_is_what_it_says(name):
    model = honest(name)
    before = {key: values.clone() for key, values in model.named_parameters()}
    moves, left_out = affordable(plan_of(model), math.inf)
    assert left_out == ""
    for move in moves:
        with moved(move):
            changed = {key for key, values in model.named_parameters() if not torch.equal(values, before[key])}
            assert changed, move.name
        named = {tensor.partition("[")[0].removesuffix("weight") for tensor in move.tensors}
        assert all(any(key.startswith(one) for one in named) or "all norms" in move.name for key in changed), move.name
        assert all(torch.equal(values, before[key]) for key, values in model.named_parameters()), move.name


@pytest.mark.parametrize("name", FOUR)
def test_losses_from_a_layer_on_are_those_of_the_whole_model(name):
    model = honest(name)
    plan, sample = plan_of(model), windows(unseen()[:512], 64, 256, [])[1]
    probe = CausalProbe(plan, sample)
    logits = model(sample.inputs).logits
    expected = torch.nn.functional.cross_entropy(logits.transpose(1, 2), sample.targets, reduction="none").mean(1)
    assert len(plan.layers) == 2
    assert probe._partly
    for layer in (None, -1, 0, 1, 2):
        torch.testing.assert_close(probe.losses(layer), expected)


def test_of_a_large_model_some_layers_are_tried_and_the_others_named(monkeypatch):
    monkeypatch.setitem(arrangements.BUDGET, "cpu", 1.0)
    checks = functional(honest("llama"), unseen()[:TOKENS])
    assert all(check.passed for check in checks)
    assert "1 of 2 layers one by one" in checks[-1].detail
    assert checks[-1].detail.endswith("all layers at once were, and layers 1")


def test_a_model_that_is_no_language_model_is_told_in_one_line():
    with pytest.raises(AtlasError, match=r"^Linear: gives no logits for tokens \(.*\); a text is for causal language"):
        functional(torch.nn.Linear(3, 3), unseen())


def test_a_short_text_is_said_not_to_be_enough():
    (check,) = functional(honest("llama"), unseen()[:100])
    assert check.detail == "not judged: the text has 100 tokens, at least 192 are needed"


def test_a_guess_by_frequencies_by_hand():
    """a, a, b, a of three symbols: 1 of 3; 1 of 1 + 1; half of 1 of 2 + 1, for two are unseen; 2 of 3 + 2."""
    found = guesses([7, 7, 8, 7], 3)[0]
    expected = [math.log(3), math.log(2), math.log(6), -math.log(2 / 5)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))
    sure = guesses([1, 2] * 400, 5)[:, -100:].mean(1)
    assert math.log(2) < sure[0] < 0.7 + 0.01
    assert sure[1] < 0.01  # what comes behind each is certain


# ------------------------------------------------------------------ texts, tokenizers, the call and the command


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return folder_of(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(text()[-KEPT:][:TOKENS], encoding="utf-8")
    return path


def test_the_folder_of_a_model_is_judged_by_a_text(llama, sample):
    report = inspect(llama, sample=sample)
    assert all(check.passed for check in report.checks if check.needs == "text")
    assert report.text == str(sample)
    assert {"predicts", "siblings", "rotary", "config"} <= {check.name for check in report.checks}
    assert not any("loss" in what for what in report.not_checked)


def test_a_model_in_memory_is_judged_by_text_tokens_or_name(llama, sample):
    model = load(llama)
    by_file = atlas.verify(model, llama, trained=False, text=sample)
    reader = Tokenizer.from_file(str(llama / "tokenizer.json"))
    assert atlas.verify(model, llama, trained=False, text=sample, tokenizer=reader) == by_file
    assert atlas.verify(model, llama, trained=False, text=unseen()[:TOKENS]) == by_file
    without = atlas.verify(model, llama, trained=False).checks[-1]
    assert (without.name, without.passed) == ("wiring", True)
    assert without.detail.startswith("not judged: whether every tensor is in its place takes a text")
    with pytest.raises(atlas.GuardError, match=r"llama.*failed .*predicts"):  # it knows no English
        atlas.verify(model, llama, trained=False, text="english")


def test_tokens_of_a_beginning_stand_in_front_of_every_window(llama):
    reader = Tokenizer.from_file(str(llama / "tokenizer.json"))
    plain, none = tokens_of("To be", reader)
    assert none == []
    reader.post_processor = TemplateProcessing(single="! $A", special_tokens=[("!", 2)])
    reader.enable_truncation(3)
    tokens, before = tokens_of("To be", reader)
    assert before == [2]
    assert torch.equal(tokens, plain)
    first, second = windows(torch.arange(10, 19), 3, 3, before)
    assert (first.inputs.tolist(), first.targets.tolist()) == ([[2, 10, 11]], [[10, 11, 12]])
    assert second.inputs.tolist() == [[2, 13, 14], [2, 16, 17]]


@pytest.mark.parametrize(
    ("change", "given", "message"),
    [
        (None, "nowhere.txt", r"nowhere.txt: no text \(No such file or directory\); give a text file, or 'english'"),
        (
            lambda at: (at / "tokenizer.json").unlink(),
            "english",
            "tokenizer.json: no such file; a text takes the model",
        ),
        (lambda at: (at / "tokenizer.json").write_text("{}"), "english", "tokenizer.json: not a tokenizer"),
    ],
)
def test_what_a_text_takes_and_is_not_there_is_one_line(tmp_path, change, given, message):
    folder = folder_of(tmp_path, "llama")
    if change:
        change(folder)
    with pytest.raises(AtlasError, match=message) as caught:
        inspect(folder, sample=given)
    assert "\n" not in str(caught.value)


def test_a_token_that_the_model_does_not_have(llama):
    with pytest.raises(AtlasError, match="gives the token 96, the model has 96; take the model's own"):
        atlas.verify(load(llama), llama, text=torch.full((500,), 96))


def test_the_blueprints_know_the_trained_models():
    for name in FOUR:
        assert blueprint(honest(name).config.to_dict(), name).specs
