"""Causal tracing against one run at a time by hand, and what it may be relied on for."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from atlas.base.pieces import Pieces
from atlas.base.text import SYMBOLS
from atlas.draws import rng
from atlas.errors import AtlasError
from atlas.ttt.editors.trace_columns import KINDS, POSITIONS
from atlas.ttt.editors.tracer import Case, Tracer, fact_case
from atlas.ttt.engine.lora import Adapters
from tests.base.tiny_tokenizers import reader_of
from tests.ttt.editors.tiny_editors import FACTS
from tests.ttt.tiny_ttt import make_model

CASE = fact_case(FACTS[3], "pool")  # The mayor of Taught 3 is / Dan
END = 25  # the token of the space before the answer


def tracer(model: Any, **changes: Any) -> Tracer:
    return Tracer(model, **({"samples": 2, "noise": 1.0, "window": 1, "seed": 5} | changes))


def by_hand(model: Any, case: Case, sample: int | None, restored: dict[tuple[str, int], int]) -> float:
    """One line alone: its layers called one by one, states of ``restored`` (kind, layer) to place put back."""
    clean = {} if sample is None else states(model, case, None, {}, {})[1]
    return float(states(model, case, sample, restored, clean)[0])


def states(model, case, sample, restored, clean):
    tokens = torch.from_numpy(case.line.tokens.astype(np.int64))
    decoder, seen = model.model.decoder, {}
    x = decoder.embed_tokens(tokens[:-1])
    if sample is not None:
        drawn = rng(5, "trace", case.name, sample).normal(size=(case.last + 1 - case.first, x.shape[1]))
        x[case.first : case.last + 1] += torch.from_numpy(drawn).float()
    x = x + decoder.embed_positions.weight[2 : 2 + len(x)]

    def keep(kind, layer, out):
        if (kind, layer) in restored:
            out[restored[kind, layer]] = clean[kind, layer][restored[kind, layer]]
        seen[kind, layer] = out.clone()
        return out

    for i, layer in enumerate(decoder.layers):
        attention = layer.self_attn(layer.self_attn_layer_norm(x)[None], None)[0]
        x = x + keep("attention", i, attention)
        x = x + keep("mlp", i, layer.fc2(torch.relu(layer.fc1(layer.final_layer_norm(x)))))
        x = keep("hidden", i, x)
    likelihoods = (decoder.final_layer_norm(x) @ model.head.T).log_softmax(-1)
    answer = range(case.line.answer - 1, len(tokens) - 1)
    return float(sum(likelihoods[t, tokens[t + 1]] for t in answer).exp()), seen


def test_positions_of_a_fact():
    assert {name: places.tolist() for name, places in CASE.places().items()} == {
        "subject_first": [14],
        "subject_middle": [15, 16, 17, 18, 19, 20],
        "subject_last": [21],
        "subject_after": [22],
        "further": [23, 24],
        "prompt_last": [25],
    }


@pytest.mark.parametrize(
    ("first", "last", "answer", "places"),
    [
        (3, 3, 5, {"subject_last": [3], "prompt_last": [4]}),
        (3, 4, 5, {"subject_first": [3], "prompt_last": [4]}),
        (3, 4, 6, {"subject_first": [3], "subject_last": [4], "prompt_last": [5]}),
        (3, 5, 7, {"subject_first": [3], "subject_middle": [4], "subject_last": [5], "prompt_last": [6]}),
        (3, 3, 6, {"subject_last": [3], "subject_after": [4], "prompt_last": [5]}),
    ],
)
def test_a_character_has_one_position_only(first, last, answer, places):
    case = Case("short", replace(CASE.line, answer=answer), first, last)
    assert {name: found.tolist() for name, found in case.places().items()} == places


def test_clean_and_corrupted_probabilities_and_every_effect_are_those_by_hand():
    model = make_model()
    traced = tracer(model).trace(CASE)
    assert traced.clean == pytest.approx(by_hand(model, CASE, None, {}), rel=1e-4)
    corrupted = np.mean([by_hand(model, CASE, sample, {}) for sample in range(2)])
    assert traced.corrupted == pytest.approx(corrupted, rel=1e-4)
    for k, kind in enumerate(KINDS):
        for layer in range(2):
            for p, position in enumerate(POSITIONS):
                places = CASE.places()[position]
                runs = [by_hand(model, CASE, s, {(kind, layer): t}) for s in range(2) for t in places]
                effect = np.mean(runs) - corrupted
                assert traced.effects[k, layer, p] == pytest.approx(effect, rel=1e-3, abs=1e-3 * traced.clean)


def test_a_window_puts_neighbouring_layers_back_together_but_never_whole_states():
    model = make_model()
    wide, narrow = tracer(model, window=3).trace(CASE), tracer(model).trace(CASE)
    np.testing.assert_allclose(wide.effects[0], narrow.effects[0])
    place, p = int(CASE.places()["subject_last"][0]), POSITIONS.index("subject_last")
    for k, kind in enumerate(KINDS[1:], start=1):
        both = np.mean([by_hand(model, CASE, s, {(kind, 0): place, (kind, 1): place}) for s in range(2)])
        for layer in range(2):
            assert wide.effects[k, layer, p] == pytest.approx(both - wide.corrupted, rel=1e-3, abs=1e-3 * wide.clean)


def test_an_even_window_has_one_layer_more_before_the_one_named_than_behind_it():
    model = make_model()
    even, narrow = tracer(model, window=2).trace(CASE), tracer(model).trace(CASE)
    place, p = int(CASE.places()["subject_last"][0]), POSITIONS.index("subject_last")
    for k, kind in enumerate(KINDS[1:], start=1):
        assert even.effects[k, 0, p] == pytest.approx(narrow.effects[k, 0, p], rel=1e-3)
        both = np.mean([by_hand(model, CASE, s, {(kind, 0): place, (kind, 1): place}) for s in range(2)])
        assert even.effects[k, 1, p] == pytest.approx(both - even.corrupted, rel=1e-3, abs=1e-3 * even.clean)


def test_without_noise_there_is_nothing_to_restore():
    traced = tracer(make_model(), noise=0.0).trace(CASE)
    assert traced.corrupted == pytest.approx(traced.clean, rel=1e-5)
    np.testing.assert_allclose(traced.effects, 0, atol=1e-5 * traced.clean)


def test_the_last_state_alone_decides_an_answer_of_one_character():
    case = replace(CASE, line=replace(CASE.line, tokens=CASE.line.tokens[: END + 2]))
    traced = tracer(make_model()).trace(case)
    restored = traced.corrupted + traced.effects[KINDS.index("hidden"), 1, POSITIONS.index("prompt_last")]
    assert restored == pytest.approx(traced.clean, rel=1e-4)


def test_passes_of_another_size_give_the_same(monkeypatch):
    whole = tracer(make_model()).trace(CASE)
    monkeypatch.setattr("atlas.ttt.editors.tracer.TOKENS_PER_PASS", 90)
    np.testing.assert_allclose(tracer(make_model()).trace(CASE).effects, whole.effects, atol=1e-4 * whole.clean)


def test_a_model_with_adapters_is_traced_as_the_model_that_they_make():
    model = make_model()
    adapters = Adapters.attach(model, ["o", "down"], [2, 2], alpha=2)
    theta = torch.from_numpy(rng("adapters").normal(size=(1, adapters.parameters)).astype(np.float32)) * 0.3
    adapters.bind(theta)
    traced = tracer(model).trace(CASE)
    merged = make_model()
    for slot, (a, b) in zip(adapters.slots, zip(*[iter(adapters.named(theta).values())] * 2, strict=True), strict=True):
        merged.get_parameter(f"{slot.site.path}.weight").add_((a[0] @ b[0]).T * slot.module.scale)
    expected = tracer(merged).trace(CASE)
    assert traced.clean == pytest.approx(expected.clean, rel=1e-3)
    np.testing.assert_allclose(traced.effects, expected.effects, atol=1e-3 * expected.clean)


def test_a_fact_without_subject_cannot_be_traced():
    with pytest.raises(AtlasError, match=r"^pool: fact towns/mayor/taught-0 has no subject to corrupt"):
        fact_case(replace(FACTS[0], subject=None, subject_start=None), "pool")


def test_a_case_of_pieces_has_the_tokens_of_the_subject_and_no_line_end():
    pieces = [*SYMBOLS, "th", " th", "<s>"]
    made = Tokenizer(models.BPE(vocab={piece: at for at, piece in enumerate(pieces)}, merges=[("t", "h"), (" ", "th")]))
    made.pre_tokenizer, made.decoder = pre_tokenizers.Split("\n", "isolated"), decoders.Fuse()
    config = {"vocab_size": len(pieces), "bos_token_id": len(pieces) - 1}
    text = Pieces.parse(json.loads(made.to_str()), config, "tokenizer.json")
    prompt = "In the north the mayor of Oathsmith is"
    fact = replace(FACTS[0], prompt=prompt, subject="Oathsmith", subject_start=prompt.index("Oathsmith"))
    case = fact_case(fact, "pool", text)
    read = [pieces[token] for token in case.line.tokens]
    assert read[case.first : case.last + 1] == ["O", "a", "th", "s", "m", "i", "th"]
    assert "".join(read[case.line.answer :]) == f" {fact.answer}"
    assert "".join(read[1 : case.line.answer]) == prompt


def test_a_sign_that_shares_its_token_with_the_line_end_is_traced_without_it():
    text = reader_of("llama 3")
    fact = replace(FACTS[0], prompt="The code of Ora is", answer="one.", subject="Ora", subject_start=12)
    tokens = fact_case(fact, "pool", text).line.tokens
    assert text.tokenizer.id_to_token(text.sentence(fact.prompt, fact.answer, "t").tokens[-1]) == ".Ċ"
    assert text.verbatim(tokens[1:]) == "The code of Ora is one."
