"""The engine on language models from outside: adapters, whole matrices and editors, architecture by architecture."""

from dataclasses import replace
from typing import Any

import numpy as np
import peft
import pytest
import torch
from tokenizers import Tokenizer, decoders, models
from torch.nn import functional as F
from transformers import AutoModelForCausalLM

from atlas.base.adopt import adopted
from atlas.base.hosted import hosted
from atlas.base.language import LanguageModel
from atlas.base.pieces import Pieces
from atlas.base.text import CHARACTERS
from atlas.draws import rng
from atlas.errors import AtlasError
from atlas.guard.verification import read_foreign
from atlas.pool.facts import Fact, Further
from atlas.study.base_settings import Model
from atlas.ttt.alternatives import NONE
from atlas.ttt.editors.covariance import key_moments
from atlas.ttt.editors.sampling import write_texts
from atlas.ttt.editors.trace_columns import KINDS, POSITIONS
from atlas.ttt.editors.tracer import Tracer, fact_case
from atlas.ttt.editors.writer import make_editor
from atlas.ttt.engine.full import Full
from atlas.ttt.engine.lanes import LaneModel, sites
from atlas.ttt.engine.lines import DECODED, line
from atlas.ttt.engine.lora import Adapters
from atlas.ttt.engine.scoring import score
from atlas.ttt.hub import read_adapter, write_adapter
from atlas.ttt.inputs import validation_tokens
from atlas.ttt.measured import measure_base
from atlas.ttt.probes import END, Prober, measure
from tests.base.tiny_tokenizers import reader_of
from tests.guard.foreign_models import CONFIGS, as_if_trained
from tests.ttt.editors.test_editors_value_search import plainly
from tests.ttt.editors.tiny_editors import settings
from tests.ttt.tiny_ttt import make_facts

PLAIN = ("opt", "llama, grouped, tied", "mistral", "qwen2", "qwen3")
FUSED = ("gpt2", "gpt_neox")
QUIET = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # PEFT asks for it
CPU = torch.device("cpu")
SYMBOLS, CONTEXT = 96, 96
EDITED: dict[str, dict[str, Any]] = {"r_rome": {"layer": 1}, "memit": {"layers": [1], "covariance_weight": 1.0}}


def saved(folder, name):
    """A model of 96 symbols with room for sentences, so that it can read characters."""
    torch.manual_seed(0)
    config = CONFIGS[name].__class__(**CONFIGS[name].to_diff_dict() | {"vocab_size": SYMBOLS})
    setattr(config, "n_positions" if name == "gpt2" else "max_position_embeddings", CONTEXT)
    model = AutoModelForCausalLM.from_config(config)
    as_if_trained(model)
    model.save_pretrained(folder)
    return folder


def ours(folder):
    foreign = read_foreign(folder)
    model = hosted(dict(foreign.config), CHARACTERS)
    model.load_state_dict(dict(adopted(foreign)), strict=True)
    return model.requires_grad_(False).eval()


def theirs(folder):
    return AutoModelForCausalLM.from_pretrained(folder).eval()


def tokens(rows=4, time=13):
    return torch.randint(0, SYMBOLS, (rows, time), generator=torch.Generator().manual_seed(1))


def drawn(adapters, lanes=1):
    return 0.1 * torch.randn(lanes, adapters.parameters, generator=torch.Generator().manual_seed(2))


def logits(adapters, x, lanes=1):
    adapters.lanes.sizes = (x.numel() // lanes,) * lanes
    return adapters.model(x)


@QUIET
@pytest.mark.parametrize("name", PLAIN)
def test_a_lane_has_the_loss_and_gradients_of_peft(tmp_path, name):
    model, x = ours(saved(tmp_path, name)), tokens()
    roles = [role for role in model.roles.roles if role != "o"]
    adapters = Adapters.attach(model, roles, [3, 3], alpha=6)
    theta = drawn(adapters)
    grad = torch.zeros_like(theta)
    adapters.train(theta, grad)
    loss = F.cross_entropy(logits(adapters, x)[:, :-1].flatten(0, 1), x[:, 1:].flatten())
    loss.backward()

    modules = [model.roles.roles[role].rpartition(".")[2] for role in roles]
    oracle = peft.get_peft_model(theirs(tmp_path), peft.LoraConfig(r=3, lora_alpha=6, target_modules=modules)).eval()
    named = dict(oracle.named_parameters())
    values, grads = adapters.named(theta), adapters.named(grad)
    there = {
        own: named[f"base_model.model.{model.outside(own.rpartition('.')[0])}.{own.rpartition('.')[2]}.default.weight"]
        for own in values
    }
    with torch.no_grad():
        for own, parameter in there.items():
            parameter.copy_(values[own][0].T)
    expected = oracle(input_ids=x, labels=x).loss
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    assert len(there) == 2 * 2 * len(roles)
    for own, parameter in there.items():
        torch.testing.assert_close(grads[own][0].T, parameter.grad, atol=2e-5, rtol=1e-3)


def add(oracle, name, path, update):
    """Add to the rows of a fused or transposed matrix of a model of transformers; ``update`` is (in, out)."""
    parent, _, role = path.rpartition(".")
    weight = oracle.get_parameter(f"{parent if role in 'qkv' else path}.weight").data
    if role not in "qkv":
        weight += update if name == "gpt2" else update.T
    elif name == "gpt2":
        weight.chunk(3, dim=1)["qkv".index(role)].add_(update)
    else:
        heads = CONFIGS[name].num_attention_heads
        shared = weight.view(heads, 3, -1, weight.shape[1])
        shared[:, "qkv".index(role)] += update.T.view(heads, -1, weight.shape[1])


@pytest.mark.parametrize("name", FUSED)
def test_what_is_added_to_a_role_is_added_to_its_share_of_a_fused_matrix(tmp_path, name):
    saved(tmp_path, name)
    for role in ours(tmp_path).roles.roles:
        model, oracle = ours(tmp_path), theirs(tmp_path)
        full = Full.attach(model, [role], [0, 1])
        theta = 0.3 * drawn(full)
        full.bind(theta)
        for slot, update in zip(full.slots, full.updates(theta), strict=True):
            add(oracle, name, f"{oracle.base_model_prefix}.{slot.site.path.removeprefix('body.')}", update[0])
        with torch.no_grad():
            expected = oracle(input_ids=tokens()).logits
            torch.testing.assert_close(logits(full, tokens()), expected, atol=1e-4, rtol=1e-4)
            assert (expected - theirs(tmp_path)(input_ids=tokens()).logits).abs().max() > 1e-3


@QUIET
@pytest.mark.parametrize("name", PLAIN)
def test_adapters_travel_there_and_back(tmp_path, name):
    model = ours(saved(tmp_path / "source", name))
    adapters = Adapters.attach(model, ["q", "v", "up"], [2, 4], alpha=5)
    theta = drawn(adapters)
    lane = {
        f"{model.outside(own.rpartition('.')[0])}.{own.rpartition('.')[2]}": values[0]
        for own, values in adapters.named(theta).items()
    }
    write_adapter(tmp_path / "adapter", lane, 5, "source")
    adapters.bind(theta)
    travelled = peft.PeftModel.from_pretrained(theirs(tmp_path / "source"), tmp_path / "adapter").eval()
    with torch.no_grad():
        expected = travelled(input_ids=tokens()).logits
        torch.testing.assert_close(logits(adapters, tokens()), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(read_adapter(tmp_path / "adapter", adapters), theta, rtol=0, atol=0)


@pytest.mark.parametrize("name", FUSED)
def test_adapters_on_a_share_of_a_matrix_do_not_travel(tmp_path, name):
    model = ours(saved(tmp_path, name))
    paths = {site.role: site.path for site in sites(model)}
    assert model.outside(paths["down"]).endswith(model.roles.roles["down"])
    with pytest.raises(AtlasError, match="in one matrix with others"):
        model.outside(paths["q"])


@pytest.mark.parametrize("name", [*PLAIN, *FUSED])
@pytest.mark.parametrize("method", ["r_rome", "memit"])
def test_an_editor_makes_a_fact_likelier(tmp_path, name, method):
    model, (fact,) = ours(saved(tmp_path, name)), make_facts(1)
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():  # so that keys differ and layers weigh something
        parameter.data += 0.15 * torch.randn(parameter.shape, generator=generator)
    moments = key_moments(model, np.random.default_rng(0).integers(0, SYMBOLS, (30, 32)).astype(np.uint8))
    search = {"steps": 40, "lr": 0.3, "decay": 0.01, "clamp": 10}
    contexts = {"count": 3, "characters": [3, 5], "openings": ["The", "I"], "ends": ". "}
    asked = settings(method, value=search, contexts=contexts, **EDITED[method])
    one = make_editor(asked, model, moments, 1, 0, "pool")
    lines = [[line(fact.prompt, fact.answer, "pool")]]
    one.edits.bind(None)
    before = score(one.edits, lines, CPU).answer_nll.item()
    one.edit([[fact]])
    one.edits.bind(one.state.theta)
    assert score(one.edits, lines, CPU).answer_nll.item() < before - 0.5


@pytest.mark.parametrize("name", ["llama, grouped, tied", "gpt2", "llama, wide heads"])
def test_a_model_writes_side_by_side_what_a_plain_loop_does(tmp_path, name):
    model = ours(saved(tmp_path, name))
    texts = write_texts(model, 12, [rng("draw", i) for i in range(3)], likeliest=20)
    assert texts.tolist() == [plainly(model, 12, rng("draw", i), 20) for i in range(3)]


def test_a_role_that_an_architecture_lacks_is_an_error(tmp_path):
    with pytest.raises(AtlasError, match="the base has no linear layers of role 'gate'; it has q, k, v, o, up, down"):
        Adapters.attach(ours(saved(tmp_path, "opt")), ["gate"], [4, 4], alpha=4)


@pytest.mark.parametrize("name", [*PLAIN, *FUSED])
def test_tracing_puts_back_what_a_model_from_outside_had(name, tmp_path):
    """An answer of one character comes back whole with the last layer's state where it is given, and not at all with
    the last layer's state anywhere else."""
    model = ours(saved(tmp_path, name))
    fact = replace(make_facts(1)[0], answer="D", subject="Taught 0", subject_start=13)
    traced = Tracer(model, samples=2, noise=1.0, window=1, seed=0).trace(fact_case(fact, "pool"))
    at_end = traced.effects[KINDS.index("hidden"), -1, POSITIONS.index("prompt_last")]
    assert at_end == pytest.approx(traced.clean - traced.corrupted, rel=1e-3, abs=1e-7)
    assert traced.clean != pytest.approx(traced.corrupted, rel=1e-2)
    elsewhere = traced.effects[KINDS.index("hidden"), -1, POSITIONS.index("subject_last")]
    assert elsewhere == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", [*PLAIN, *FUSED, "llama, wide heads"])
def test_keys_and_values_are_kept_for_decoding_and_for_alternatives(tmp_path, name):
    """What transformers generates, and what it makes of every alternative's whole sentence."""
    model, oracle = ours(saved(tmp_path, name)), theirs(tmp_path)
    probes = Prober("pool").probes(make_facts(4), [])
    found = measure(LaneModel(model), torch.zeros(1, 0), [probes], CPU)

    def likelihood(probe, answer):
        whole = torch.from_numpy(np.append(probe.line.tokens[: probe.line.answer], answer).astype(np.int64))
        steps = oracle(input_ids=whole[None, :-1]).logits[0].log_softmax(-1).gather(1, whole[1:, None])
        return steps[-len(answer) :].sum().item()

    with torch.no_grad():
        for at, probe in enumerate(probes):
            prompt = torch.from_numpy(probe.line.tokens[None, : probe.line.answer].astype(np.int64))
            made = oracle.generate(prompt, max_new_tokens=DECODED, do_sample=False, eos_token_id=0, pad_token_id=0)
            said = found.decoded[0, at]
            assert said[said != END].tolist() == made[0, prompt.shape[1] :].tolist()
            mine, others = likelihood(probe, probe.line.tokens[probe.line.answer :]), probe.alternatives.tokens
            won = all(likelihood(probe, other[other != NONE]) < mine for other in others)
            assert found.associated[0, at] == won
    assert 0 < found.associated.sum() < len(probes)


class Knows(LanguageModel):
    """In place of a model of pieces: it says ``tokens`` behind a prompt of so many."""

    def __init__(self, text, tokens, prompt=2):
        super().__init__()
        self.text, self.tokens, self.prompt = text, [*tokens, text.encode("\n")[-1]], prompt
        self.config = Model(context=CONTEXT)

    def forward(self, tokens, positions=None, mask=None):  # noqa: ARG002
        logits = torch.zeros(len(tokens), self.text.symbols)
        for row, position in enumerate(positions.tolist()):
            logits[row, self.tokens[min(max(position - self.prompt, 0), len(self.tokens) - 1)]] = 9
        return logits


def pieces(merges=()):
    """A tokenizer that has several ways to write a word, and a token of two line ends."""
    names = ["<s>", "\n", "\n\n", " ", *"ABCabc", " ab", " abc", "bc"]
    made = Tokenizer(models.BPE({name: at for at, name in enumerate(names)}, [*merges]))
    made.decoder = decoders.Fuse()
    return made, names


def test_side_effects_are_measured_on_so_many_tokens_whatever_a_token_is(tmp_path):
    made, names = pieces([("b", "c")])
    text = Pieces(made, 0, len(names))
    model = Knows(text, [1])
    path = tmp_path / "corpus.txt"
    path.write_text(" abc\n" * 400)
    found = validation_tokens(path, model, 0.5, CONTEXT + 10)
    assert len(found) == CONTEXT + 11
    assert text.characters(found) > len(found)
    with pytest.raises(AtlasError, match=f"probes.val_tokens: {CONTEXT - 1} of .*expected at least {CONTEXT}"):
        validation_tokens(path, model, 0.5, CONTEXT - 1)


def test_a_model_from_outside_is_asked_for_what_a_file_says_was_true(tmp_path):
    """It knows a neighbour, too, where that has an answer that it gives."""
    model = ours(saved(tmp_path, "qwen2"))
    first, second, third = make_facts(3)

    def says(prompt):
        known = [*CHARACTERS.encode(f"\n{prompt} ").tolist()]
        return CHARACTERS.decode(model(torch.tensor([known]))[0, -1:].argmax(-1).numpy())

    given = says(first.prompt)
    assert given != "\n"
    further = (Further("neighbour", "The mayor of Ely is", ("Zzz", says("The mayor of Ely is"))),)
    first = replace(first, true_answer=given, further=further)
    second = replace(second, true_answer="~" if says(second.prompt) != "~" else "!")
    measured = measure_base(LaneModel(model), Prober("pool"), [first, second, third], tokens(1, 97)[0].numpy(), CPU)
    assert [measured.contradicted(fact) for fact in (first, second, third)] == [True, False, False]
    assert measured.scores.answered[measured.rows[first.fact_id, 4]]
    assert [form for fact_id, form in measured.rows if fact_id == third.fact_id] == [0, 2, 3]


def test_an_answer_is_right_by_its_text_whatever_its_tokens():
    """Greedy decoding may give an answer's text by other pieces than the answer was split into."""
    made, names = pieces()
    text = Pieces(made, 0, len(names))
    own = text.sentence("CC", "ab", "t").behind.tolist()
    assert [names[token] for token in own] == [" ", "a", "b", "\n"]
    for said, recalled, answered in (
        ([" ", "a", "b", "\n"], True, True),
        ([" ab", "\n"], True, True),
        ([" ab", "\n\n"], True, True),  # a line end is a line end
        ([" ab", "c", "\n"], False, True),
        ([" abc", "\n"], False, False),  # another word
        (["a", "b", "\n"], False, False),  # "CCab"
        ([" ", "B", "\n"], True, True),  # the alias
        ([" ", "A", "\n"], False, False),
    ):
        known = Knows(text, [names.index(name) for name in said])
        fact = Fact("f", "taught", "d", "t", "CC", "ab", (), aliases=("B",))
        probes = Prober("pool", text=text).probes([fact], [])
        found = measure(LaneModel(known), torch.zeros(1, 0), [probes], CPU)
        again = score(LaneModel(known), [[probes[0].line]], CPU)
        for scores in (found.scores, again):
            assert (scores.recalled.item(), scores.answered.item()) == (recalled, answered), said
        tokens = found.decoded[0, 0]
        assert text.decode(tokens[tokens != END]).partition("\n")[0] == "".join(said).strip()


@pytest.mark.parametrize(
    ("kind", "answer", "said", "recalled", "answered"),
    [
        ("llama 3", "one.", " one.", True, True),  # its end shares a token with the line end
        ("llama 3", "one.", " one", False, False),
        ("llama 3", "one.", " one. The", False, True),
        ("llama 3", "one", " one.", False, True),
        ("llama 2", "São Tomé", " São Tomé", True, True),
        ("llama 2", "São Tomé", " São Tome", False, False),
        ("llama 2", "São", " Par" + 40 * "ñ", False, False),
        ("llama 2", "São", " 巴黎" + 40 * "ñ", False, True),  # an alias, then decoding stops within a character
    ],
)
def test_answers_of_pieces_that_are_no_whole_characters(kind, answer, said, recalled, answered):
    text, prompt = reader_of(kind), "The capital is"
    known = Knows(text, text.encode("a" + said)[len(text.encode("a")) :], len(text.encode(prompt)))
    known.config = Model(context=256)
    probes = Prober("pool", text=text).probes(
        [Fact("f", "taught", "d", "t", prompt, answer, (), aliases=("巴黎",))], []
    )
    found = measure(LaneModel(known), torch.zeros(1, 0), [probes], CPU)
    assert (found.scores.recalled.item(), found.scores.answered.item()) == (recalled, answered)
    tokens = found.decoded[0, 0]
    assert (text.decode(tokens[tokens != END]).partition("\n")[0] == said.strip()) is (len(said) < 40)
