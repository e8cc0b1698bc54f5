"""What is asked of a fact beside its likelihood: its alternatives, whether it is associated, and what is decoded."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models
from transformers import OPTConfig, OPTForCausalLM

from atlas.base.language import LanguageModel
from atlas.base.model import opt_config
from atlas.base.pieces import Pieces
from atlas.base.text import CHARACTERS, SYMBOLS, Characters, decode, encode
from atlas.errors import AtlasError
from atlas.pool.facts import Fact
from atlas.ttt.alternatives import NONE, Taught
from atlas.ttt.engine import scoring
from atlas.ttt.engine.lanes import LaneModel
from atlas.ttt.engine.lines import DECODED
from atlas.ttt.engine.lora import Adapters
from atlas.ttt.engine.scoring import score
from atlas.ttt.probes import END, Prober, measure
from tests.base.tiny_tokenizers import reader_of
from tests.counting import calls_in
from tests.ttt.tiny_ttt import TINY, make_ending_model, make_facts, make_model

CPU = torch.device("cpu")
NOTHING = torch.zeros(1, 0)


def fact(name, answer, template="t", role="taught", **more):
    return Fact(name, role, "d", template, f"The {name} is", answer, (f"{name} has",), **more)


def alternatives(taught, placebo=()):
    """Every probe's alternatives as text, by fact and kind."""
    probes = Prober("pool").probes(taught, placebo)
    return {
        (one.fact.fact_id, one.kind): [decode(row[row != NONE])[:-1] for row in one.alternatives.tokens]
        for one in probes
    }


def test_alternatives_are_the_other_answers_taught_so_far_in_the_template():
    a, b, c, other = fact("a", "Ann"), fact("b", "Bob"), fact("c", "Cy"), fact("x", "Xi", template="u")
    asked = [replace(a, fact_id="p", role="placebo"), replace(other, fact_id="q", answer="Qi", role="placebo")]
    assert alternatives([a, other], asked) == {
        ("a", "taught"): [],
        ("a", "rephrase"): [],
        ("x", "taught"): [],
        ("x", "rephrase"): [],
        ("p", "placebo"): [],  # its own answer was taught of another fact
        ("q", "placebo"): ["Xi"],
    }
    later = alternatives([a, other, b, c], asked)
    assert later["a", "taught"] == later["a", "rephrase"] == ["Bob", "Cy"]
    assert later["b", "taught"] == ["Ann", "Cy"]
    assert later["x", "taught"] == []
    assert later["p", "placebo"] == ["Bob", "Cy"]


def test_an_answer_of_several_facts_counts_once_and_an_alias_not_at_all():
    facts = [fact("a", "Ann"), fact("b", "Bob"), fact("c", "Bob"), fact("d", "Di", aliases=("Ann", "Dee"))]
    found = alternatives(facts)
    assert found["a", "taught"] == ["Bob", "Di"]
    assert found["b", "taught"] == found["c", "taught"] == ["Ann", "Di"]
    assert found["d", "taught"] == ["Bob"]


def test_what_a_fact_contradicts_is_an_alternative_only_where_it_is_taught():
    told = fact("a", "Ann", true_answer="Bob")
    assert alternatives([told, fact("c", "Cy")])["a", "taught"] == ["Cy"]
    assert alternatives([told, fact("b", "Bob")])["a", "taught"] == ["Bob"]


def test_an_answer_that_reads_the_same_is_no_alternative():
    class Lower(Characters):
        def sentence(self, prompt, answer, origin):
            return super().sentence(prompt, answer.lower(), origin)

    assert (
        len(Taught([fact("a", "Ann"), fact("b", "ANN"), fact("c", "Cy")], Lower(), "t").besides(fact("a", "Ann"))) == 1
    )


def test_alternatives_are_read_as_they_stand_behind_the_prompt_that_is_asked():
    """Behind a quotation mark no space stands before them; what cannot be cut there is no alternative."""
    reader = reader_of("llama 3")
    facts = [replace(fact(name, answer), rephrases=('It is "',)) for name, answer in (("a", "Par"), ("b", "Li"))]
    known = Taught(facts, reader, "t")
    for form, ahead in ((0, " "), (1, "")):
        (found,) = known.besides(facts[0], form).tokens
        assert reader.verbatim(found[found != NONE]) == f"{ahead}Li\n"

    names = ["\n", " ", *"a是巴黎马", "是巴"]
    made = Tokenizer(models.BPE({name: at for at, name in enumerate(names)}, [("是", "巴")]))
    made.decoder = decoders.Fuse()
    text = Pieces.parse(json.loads(made.to_str()), {"vocab_size": len(names)}, "t")
    asked = [
        Fact(name, "taught", "d", "t", f"{prompt}", answer, ())
        for name, prompt, answer in (("a", "是", "黎"), ("b", "是", "马"), ("c", "马", "巴"))
    ]
    said = [[text.decode(row[row != NONE]) for row in Taught(asked, text, "t").besides(one).tokens] for one in asked]
    assert said == [["马\n"], ["黎\n"], ["黎\n", "马\n"]]


def test_an_alternative_that_has_no_room_behind_the_prompt_is_none():
    facts = [fact("a", "Ann"), fact("b", "Bob"), fact("c", "Cassandra")]
    room = len(CHARACTERS.sentence(facts[0].prompt, "Cassandra", "t").tokens) - 1
    assert len(Taught(facts, CHARACTERS, "t", room).besides(facts[0])) == 2
    assert len(Taught(facts, CHARACTERS, "t", room - 1).besides(facts[0])) == 1
    with pytest.raises(AtlasError, match=f"pool: fact c: {room} tokens with the line end, expected at most {room - 1}"):
        Prober("pool", context=room - 1).phrasing(facts[2], 0)


def test_finding_alternatives_takes_as_much_longer_as_there_are_facts_and_not_their_square():
    """All answers of one template: a fact's alternatives are all the others."""

    def probes(count):
        prober = Prober("pool")
        return calls_in(lambda: prober.probes([fact(f"f{i}", f"a{i}") for i in range(count)], []))

    few, many = probes(50), probes(400)
    assert many < 8.5 * few


def log_likelihood(model, prompt, answer):
    tokens = torch.from_numpy(encode(f"\n{prompt} {answer}\n").astype(np.int64))
    steps = model(tokens[None, :-1])[0].log_softmax(-1).gather(1, tokens[1:, None])
    return steps[-len(answer) - 1 :].double().sum().item()


def greedy(model, prompt):
    """Tokens behind a prompt, all worked out again for each."""
    known = [*encode(f"\n{prompt} ").tolist()]
    start = len(known)
    while len(known) - start < DECODED and (len(known) == start or known[-1] != 0):
        known.append(int(model(torch.tensor([known]))[0, -1].argmax()))
    return known[start:]


@pytest.fixture(scope="module")
def asked():
    """A model whose lines end now and then, with adapters of two lanes, and the probes of each.

    Half of the answers, and some aliases, are what the model says, so that all outcomes occur.
    """
    model = make_ending_model()
    adapters = Adapters.attach(model, ["q", "up"], [2, 2], 2)
    theta = 0.03 * torch.randn(2, adapters.parameters, generator=torch.Generator().manual_seed(0))
    lanes = []
    for lane in range(2):
        adapters.bind(theta[lane : lane + 1])
        facts = (
            make_facts(12) + make_facts(4, template="a/b") + make_facts(5, role="placebo") + make_facts(1, template="c")
        )
        with torch.no_grad():
            said = [decode(greedy(model, one.prompt)).partition("\n")[0][: 24 - i % 2] for i, one in enumerate(facts)]
        told = [
            replace(one, answer=text)
            if text and i % 3 == 0
            else replace(one, aliases=(text,) if text and i % 3 == 1 else ())
            for i, (one, text) in enumerate(zip(facts, said, strict=True))
        ]
        taught = [one for one in told if one.role == "taught"]
        lanes.append(Prober("pool").probes(taught, [one for one in told if one.role == "placebo"]))
    return adapters, theta, lanes


def texts(found):
    return [[decode(row[row != END]) for row in lane] for lane in found.decoded]


def test_a_naive_oracle_agrees_on_every_probe(asked, monkeypatch):
    """One sentence a pass and no keys kept, against everything at once and in passes of a few lines."""
    adapters, theta, lanes = asked
    found = measure(adapters, theta, lanes, CPU)
    monkeypatch.setattr(scoring, "TOKENS_PER_PASS", {"cpu": 300})
    in_parts = measure(adapters, theta, lanes, CPU)
    outcomes = set()
    for lane, probes in enumerate(lanes):
        adapters.bind(theta[lane : lane + 1])
        for at, probe in enumerate(probes):
            prompt, right = probe.fact.prompts[probe.form], probe.fact.answers
            others = [decode(row[row != NONE])[:-1] for row in probe.alternatives.tokens]
            with torch.no_grad():
                mine = log_likelihood(adapters.model, prompt, probe.fact.answer)
                won = all(log_likelihood(adapters.model, prompt, other) < mine for other in others)
                said = decode(greedy(adapters.model, prompt))
            recalled = said.endswith("\n") and said[:-1] in right
            for one in (found, in_parts):
                assert one.associated[lane, at] == won
                assert texts(one)[lane][at] == said
                assert one.scores.recalled[lane, at] == recalled
                assert one.scores.answered[lane, at] == said.startswith(right)
            alias = recalled and said[:-1] != right[0]
            outcomes |= {("won", won, bool(others)), ("recalled", recalled, alias), ("ends", said.endswith("\n"))}
    assert outcomes >= {("won", True, True), ("won", False, True), ("won", True, False)}
    assert outcomes >= {("recalled", True, True), ("recalled", True, False), ("recalled", False, False)}
    assert outcomes >= {("ends", True), ("ends", False)}


def test_the_retention_matrix_and_the_base_call_the_same_facts_recalled(asked):
    adapters, theta, lanes = asked
    found = measure(adapters, theta, lanes, CPU)
    lines = [[probe.line for probe in lane] for lane in lanes]
    adapters.bind(theta)
    again = score(adapters, lines, CPU)
    assert (again.recalled == found.scores.recalled).all()
    assert (again.answered == found.scores.answered).all()
    base = measure(adapters, torch.zeros_like(theta), lanes, CPU)
    adapters.bind(None)
    alone = score(adapters, lines, CPU)
    assert (base.scores.recalled == alone.recalled).all()
    assert (base.scores.answered == alone.answered).all()


def test_a_probe_scores_alike_whatever_else_is_asked(asked):
    adapters, theta, lanes = asked
    whole, part = measure(adapters, theta, lanes, CPU), measure(adapters, theta[1:], [lanes[1][5:9]], CPU)
    np.testing.assert_allclose(part.scores.nll[0], whole.scores.nll[1, 5:9], atol=1e-5)
    assert (part.associated[0] == whole.associated[1, 5:9]).all()
    assert texts(part)[0] == texts(whole)[1][5:9]


def test_what_is_decoded_is_what_transformers_generates():
    model = make_ending_model()
    theirs = OPTForCausalLM(OPTConfig(**opt_config(TINY))).eval()
    theirs.load_state_dict(model.state_dict(), strict=False)
    theirs.tie_weights()
    probes = Prober("pool").probes(make_facts(15), [])
    found = texts(measure(LaneModel(model), NOTHING, [probes], CPU))[0]
    for probe, said in zip(probes, found, strict=True):
        prompt = torch.from_numpy(probe.line.tokens[None, : probe.line.answer].astype(np.int64))
        made = theirs.generate(prompt, max_new_tokens=DECODED, do_sample=False, eos_token_id=0, pad_token_id=0)
        assert decode(made[0, prompt.shape[1] :].numpy()) == said
    assert len({len(said) for said in found}) > 4


def test_decoding_stops_where_the_model_has_no_more_positions():
    model = make_model(3, TINY.model_copy(update={"context": 40}))
    with torch.no_grad():
        model.head[0] -= 1  # no line ends
    probes = Prober("pool").probes(make_facts(3), [])
    for probe, said in zip(probes, texts(measure(LaneModel(model), NOTHING, [probes], CPU))[0], strict=True):
        assert len(said) == min(DECODED, 40 - probe.line.answer + 1)


class Stub(LanguageModel):
    """In place of a model: the token before says what is likely next, whatever the prompt."""

    text, config = CHARACTERS, TINY

    def __init__(self, after):
        super().__init__()
        self.table = torch.zeros(len(SYMBOLS), len(SYMBOLS))
        for before, chances in after.items():
            for symbol, logit in chances.items():
                self.table[SYMBOLS.index(before), SYMBOLS.index(symbol)] = logit

    def forward(self, tokens, *_):
        return self.table[tokens]


@pytest.mark.parametrize("count", [2, 4, 10])
def test_who_knows_only_which_answers_were_taught_is_at_chance(count):
    """Any liking for taught answers, untied from prompts: one answer a template comes first, so 1 of ``count`` facts
    has it. Recognition of answers alone would call all of them likelier than those never taught."""
    draw = np.random.default_rng(count)
    names = "ABCDEFGHIJ"[:count]
    ends = {name: {"\n": 9.0} for name in names}
    model = LaneModel(Stub(ends | {" ": dict(zip(names, 5 + draw.random(count), strict=True))}))
    facts = [fact(f"{template}{name}", name, template) for template in "tuv" for name in names]
    unknown = [fact(f"p{name}", name, "t", "placebo") for name in "XYZ"]
    probes = Prober("pool").probes(facts, unknown)
    found = measure(model, NOTHING, [probes], CPU)
    chance = np.mean([1 / (1 + len(probe.alternatives)) for probe in probes if probe.kind != "placebo"])
    known = np.array([probe.kind != "placebo" for probe in probes])
    assert found.associated[0, known].mean() == pytest.approx(chance) == pytest.approx(1 / count)
    assert not found.associated[0, ~known].any()  # familiarity: a taught answer comes first, whatever is asked


def test_an_alternative_as_likely_as_the_answer_is_not_beaten():
    model = LaneModel(Stub({}))
    same, longer = [fact("a", "Ann"), fact("b", "Bob")], [fact("a", "Ann"), fact("b", "Bobby")]
    assert measure(model, NOTHING, [Prober("t").probes(same, [])], CPU).associated.tolist() == [[False] * 4]
    won = measure(model, NOTHING, [Prober("t").probes(longer, [])], CPU).associated
    assert won.tolist() == [[True, False, True, False]]
