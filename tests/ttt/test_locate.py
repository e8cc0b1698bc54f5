"""Where facts sit in adapters: against weights changed by hand, and on adapters whose facts sit where one knows."""

import json
import shutil
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from transformers import OPTConfig, OPTForCausalLM

from atlas.base.corpus import split
from atlas.base.model import opt_config
from atlas.base.text import encode
from atlas.draws import rng
from atlas.errors import AtlasError
from atlas.pool.facts import read_pool, read_stream
from atlas.study.arm import Arm, check_arm
from atlas.study.base_settings import Model
from atlas.ttt import locate_passes
from atlas.ttt.alternatives import Taught
from atlas.ttt.engine.lora import Adapters
from atlas.ttt.locate import evenly, variants_of
from atlas.ttt.locate_changes import changes_of, groups_of, rotated, units_of
from atlas.ttt.locate_columns import CHANGES, HALVES, KNOCKOUTS, SLOTS, UNITS
from atlas.ttt.locate_passes import Question, ask
from atlas.ttt.probes import Probe, Prober, measure
from tests.ttt.made_adapters import CPU, PLACE, STILL, knockouts, learned, locate_run, located
from tests.ttt.test_hosted import ours, saved
from tests.ttt.tiny_run import CORPUS, ROUNDED, make_measured, spec
from tests.ttt.tiny_ttt import TINY, make_facts, make_model

MODULES = {"q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj", "o": "self_attn.out_proj"}
MODULES |= {"up": "fc1", "down": "fc2"}
EVERYWHERE: dict[str, Any] = {"targets": [*MODULES], "ranks": [4, 4]}
HOME: dict[str, Any] = {"targets": ["v", "up", "down"], "ranks": [8, 8]}


@pytest.fixture(scope="session")
def everywhere(inputs, tmp_path_factory):
    """Facts that were learned in all places together."""
    return located(inputs, tmp_path_factory.mktemp("everywhere") / "1-2", learned, **EVERYWHERE)


@pytest.fixture(scope="session")
def grouped(inputs, everywhere, tmp_path_factory):
    """The same, both layers as one group."""
    run = spec(recipe=STILL, **EVERYWHERE)
    return locate_run(inputs, everywhere, run, {"groups": 1}, tmp_path_factory.mktemp("grouped"))


@pytest.fixture(scope="session")
def planted(inputs, tmp_path_factory):
    """Facts that were learned at one site alone."""
    home = tmp_path_factory.mktemp("planted") / "1-2"
    return located(inputs, home, partial(learned, role="up", layer=0, steps=500), **HOME)


class ByHand:
    """A seed's adapter in the model of transformers, changed as a row says; shares no code with the step."""

    def __init__(self, inputs, folder, seed):
        self.weights = load_file(inputs / "base.safetensors")
        self.adapter = {name: tensor[seed - 1] for name, tensor in load_file(folder / "adapters.safetensors").items()}
        self.scale = spec().alpha / 4
        facts = {fact.fact_id: fact for fact in read_pool(inputs / "pool.parquet")}
        self.taught = [facts[row.fact_id] for row in read_stream(inputs / f"{seed}.parquet")]

    def model(self, row):
        weights = dict(self.weights)
        for layer in range(TINY.layers):
            for role, module in MODULES.items():
                path = f"model.decoder.layers.{layer}.{module}"
                update = self.scale * self.adapter[f"{path}.lora_A"] @ self.adapter[f"{path}.lora_B"]
                weights[f"{path}.weight"] = weights[f"{path}.weight"] + self.share(row, layer, role) * update.T
        model = OPTForCausalLM(OPTConfig(**opt_config(TINY)))
        model.load_state_dict(weights, strict=False)
        model.tie_weights()
        return model.eval()

    @staticmethod
    def share(row, layer, role):
        """How much of a site's update a change leaves."""
        inside = row.unit == "all" or (
            (row.unit not in ("layer", "slot") or row.first_layer <= layer <= row.last_layer)
            and (row.unit not in ("role", "slot") or row.role == role)
            and (row.unit != "half" or (row.half == "attention") == (role in "qkvo"))
        )
        return {"intact": 1.0, "without": 1.0 - inside, "only": float(inside), "halved": 1.0 - 0.5 * inside}[row.change]

    @torch.no_grad()
    def recalled(self, model, fact):
        """By greedy decoding, as long as it may yet give the answer."""
        right, said = encode(f"{fact.answer}\n").tolist(), list[int]()
        while said == right[: len(said)] and len(said) < len(right):
            tokens = torch.tensor([[0, *encode(f"{fact.prompt} ").tolist(), *said]])
            said.append(int(model(input_ids=tokens).logits[0, -1].argmax()))
        return said == right

    @torch.no_grad()
    def associated(self, model, fact):
        answers = [fact.answer, *{other.answer for other in self.taught} - {fact.answer}]
        own, *others = (sum(cost) for cost in self.costs(model, [(fact, answer) for answer in answers]))
        return own < min(others)

    @staticmethod
    def costs(model, said):
        """Nats of every token of answers to facts, line ends included."""
        lines = [torch.from_numpy(encode(f"\n{fact.prompt} {answer}\n").astype(np.int64)) for fact, answer in said]
        padded = torch.nn.utils.rnn.pad_sequence(lines, batch_first=True)
        logits = model(input_ids=padded[:, :-1]).logits
        nats = F.cross_entropy(logits.transpose(1, 2), padded[:, 1:], reduction="none")
        return [
            row[len(line) - len(answer) - 2 : len(line) - 1]
            for row, line, (_, answer) in zip(nats, lines, said, strict=True)
        ]

    @torch.no_grad()
    def base_loss(self, model):
        """Of two windows of the validation text."""
        text = torch.from_numpy(encode(split(CORPUS, 0.05)[1]).astype(np.int64))
        size = TINY.context
        parts = [text[at : at + size + 1] for at in (0, size)]
        return np.mean([F.cross_entropy(model(input_ids=part[None, :-1]).logits[0], part[1:]).item() for part in parts])


@pytest.mark.parametrize("name", ["everywhere", "grouped"])
def test_every_change_does_what_it_says(name, inputs, everywhere, request):
    """With weights changed by hand, in the model of transformers."""
    rows = knockouts(request.getfixturevalue(name)).query("seed == 2 and change != 'rotated'")
    hand = ByHand(inputs, everywhere, 2)
    nothing = next(rows.query("change == 'without' and unit == 'all'").itertuples())
    base = hand.base_loss(hand.model(nothing))
    for record in rows.to_dict("records"):
        row = SimpleNamespace(**{str(key): value for key, value in record.items()})
        model = hand.model(row)
        assert row.facts == row.judged == len(hand.taught)
        assert row.recalled == sum(hand.recalled(model, fact) for fact in hand.taught), row
        assert row.associated == sum(hand.associated(model, fact) for fact in hand.taught), row
        assert row.base_loss_rise == pytest.approx(hand.base_loss(model) - base, abs=2e-5), row
    assert len({*rows["recalled"]}) > 2  # they differ


def test_files_have_the_columns_and_the_units_that_they_should(everywhere, grouped):
    rows = pq.read_table(everywhere / "knockouts.parquet")
    assert rows.schema.remove_metadata() == KNOCKOUTS
    assert pq.read_table(everywhere / "slots.parquet").schema.remove_metadata() == SLOTS
    found = knockouts(everywhere)
    assert {*found["change"]} == {*CHANGES}
    assert {*found["unit"]} == {*UNITS}
    assert {*found["half"].dropna()} == {*HALVES}
    assert len(found) == 2 * (2 + 2 * (2 + 2 + 6) + 4 * 12)  # seeds x (the whole, halves, layers, roles; slots)
    assert not found.duplicated([*PLACE, "seed"]).any()
    sessions = rows.filter(rows["probe"].to_numpy() == "taught").to_pandas().groupby(["seed", "change", "unit"])
    assert {*map(tuple, sessions["session_taught"].unique())} == {(1, 2, 3, 4)}
    assert {*found["facts_placebo"]} == {4}
    joined = knockouts(grouped)
    assert {*zip(joined["first_layer"].dropna(), joined["last_layer"].dropna(), strict=True)} == {(0, 1)}
    assert "layer" not in {*joined["unit"]}  # there is one group, which is all


def test_what_all_else_is_taken_out_of_is_what_only_it_is_left_of(everywhere):
    rows = knockouts(everywhere).query("unit == 'half'")
    for mine, other in (HALVES, HALVES[::-1]):
        without, only = (
            rows[(rows["change"] == change) & (rows["half"] == half)]
            for change, half in (("without", mine), ("only", other))
        )
        assert [*without["recalled"]] == [*only["recalled"]]
        np.testing.assert_allclose(without["base_loss_rise"], only["base_loss_rise"], atol=1e-5)


def test_an_adapter_that_is_untrained_locates_nothing(inputs, tmp_path):
    rows = knockouts(located(inputs, tmp_path / "1-2", None, **EVERYWHERE))
    for column in ("recalled", "associated", "recalled_placebo"):
        assert (rows.groupby("seed")[column].nunique() == 1).all(), column
    np.testing.assert_allclose(rows["base_loss_rise"], 0, atol=1e-5)
    slots = pq.read_table(tmp_path / "1-2" / "slots.parquet").to_pandas()
    assert (slots["norm"] == 0).all()
    assert (slots["gradient_energy"] > 0).all()


def test_planted_facts_are_found_where_they_are(planted):
    rows = knockouts(planted)
    known = rows["seed"].map(rows.query("change == 'intact'").set_index("seed")["recalled"])
    assert known.min() >= 6
    home = (rows["role"].isna() | (rows["role"] == "up")) & ~(rows["first_layer"] > 0) & (rows["half"] != "attention")
    kept = {"without": ~home, "only": home, "halved": ~home, "rotated": ~home, "intact": home}
    for change, all_is_kept in kept.items():
        mine = rows["change"] == change
        assert ((rows["recalled"] - known).abs() <= 1)[mine & all_is_kept].all(), change
        assert (rows["recalled"] < 0.5 * known)[mine & ~all_is_kept].all(), change
    assert {*rows["recalled_placebo"]} == {0}
    slots = pq.read_table(planted / "slots.parquet").to_pandas()
    there = (slots["first_layer"] == 0) & (slots["role"] == "up")
    assert slots.loc[there, "norm"].min() > 100 * slots.loc[~there, "norm"].max()


def test_the_same_run_is_located_with_the_same_bytes(inputs, everywhere, tmp_path):
    again = locate_run(inputs, everywhere, spec(recipe=STILL, **EVERYWHERE), out=tmp_path)
    for name in ("knockouts.parquet", "slots.parquet"):
        assert (again / name).read_bytes() == (everywhere / name).read_bytes()


def test_slots_have_the_norm_of_their_update_and_the_gradient_of_the_base(inputs, everywhere, grouped):
    rows = pq.read_table(everywhere / "slots.parquet").to_pandas().query("seed == 1")
    hand = ByHand(inputs, everywhere, 1)
    model = OPTForCausalLM(OPTConfig(**opt_config(TINY))).eval()
    model.load_state_dict(hand.weights, strict=False)
    model.tie_weights()
    costs = hand.costs(model, [(fact, fact.answer) for fact in hand.taught])
    torch.stack([cost.mean() for cost in costs]).mean().backward()
    for row in rows.itertuples():
        path = f"model.decoder.layers.{row.first_layer}.{MODULES[row.role]}"
        a, b = hand.adapter[f"{path}.lora_A"], hand.adapter[f"{path}.lora_B"]
        assert row.parameters == a.numel() + b.numel()
        assert row.norm == pytest.approx(float((hand.scale * a @ b).norm()), rel=1e-5)
        energy = model.get_submodule(path).weight.grad.square().sum()
        assert row.gradient_energy == pytest.approx(float(energy), rel=1e-3)
    joined = pq.read_table(grouped / "slots.parquet").to_pandas().query("seed == 1").set_index("role")
    for role, parts in rows.groupby("role"):
        assert joined.loc[role, "parameters"] == parts["parameters"].sum()
        assert joined.loc[role, "norm"] == pytest.approx(np.sqrt((parts["norm"] ** 2).sum()))
        assert joined.loc[role, "gradient_energy"] == pytest.approx(parts["gradient_energy"].sum())


def test_groups_of_layers_are_changed_together():
    """Four layers in two groups, site by site by hand; the second layer has no adapter."""
    adapters = Adapters.attach(make_model(config=TINY.model_copy(update={"layers": 4})), ["q", "up"], [3, 0, 3, 3], 6)
    theta = torch.randn(1, adapters.parameters, generator=torch.Generator().manual_seed(1))
    placed = [slot.site for slot in adapters.slots]
    changes = [*changes_of(units_of(placed, groups_of(4, 2)))]
    variants, places = variants_of(adapters, theta, changes, (0, 1))
    whole = adapters.updates(theta)
    assert {change.unit.layers for change in changes if change.unit.kind == "slot"} == {(0, 1), (2, 3)}
    for change, place in zip(changes, places, strict=True):
        unit, made = change.unit, adapters.updates(variants[place].theta[None])
        for site, before, after in zip(placed, whole, made, strict=True):
            first, last = unit.layers or (0, 3)
            inside = first <= site.layer <= last and unit.role in (None, site.role)
            inside &= unit.half in (None, "attention" if site.role == "q" else "feed_forward")
            if change.kind == "rotated" and inside:
                assert (after - before).norm() > 0.5 * before.norm()
                torch.testing.assert_close(after.norm(), before.norm())
                continue
            share = {"intact": 1, "without": 1 - inside, "only": inside, "halved": 1 - 0.5 * inside, "rotated": 1}[
                change.kind
            ]
            torch.testing.assert_close(after, share * before)


def test_a_turned_update_keeps_its_singular_values_and_nothing_else():
    a, b = torch.randn(40, 6), torch.randn(6, 24)
    turned = rotated((a, b), rng("turn", 1))
    torch.testing.assert_close(torch.linalg.svdvals(turned[0] @ turned[1]), torch.linalg.svdvals(a @ b))
    for own, other in ((a, turned[0]), (b.T, turned[1].T)):
        cosines = torch.linalg.svdvals(torch.linalg.qr(own).Q.T @ torch.linalg.qr(other).Q)
        assert cosines.square().sum() < 0.6 * 6  # of equal spaces 6; by chance 6 * 6 / 40 and 6 * 6 / 24
    again = rotated((a, b), rng("turn", 1))
    assert torch.equal(turned[0], again[0])
    assert not torch.equal(turned[0], rotated((a, b), rng("turn", 2))[0])


@pytest.mark.parametrize("name", ["ours", "opt", "gpt2", "gpt_neox", "llama, grouped, tied", "qwen3"])
def test_passes_that_begin_inside_give_what_whole_ones_give(name, tmp_path, monkeypatch):
    """Every change of every architecture, lane by lane from the beginning; with aliases, and small sheets."""
    monkeypatch.setattr(locate_passes, "TOKENS", {"cpu": (100, 350)})
    monkeypatch.setattr(locate_passes, "RECORDED", 1 << 18)
    model = make_model() if name == "ours" else ours(saved(tmp_path, name))
    adapters = Adapters.attach(model, [*model.roles.roles], [3, 3], 6)
    theta = 0.3 * torch.randn(1, adapters.parameters, generator=torch.Generator().manual_seed(1))
    changes = [*changes_of(units_of([slot.site for slot in adapters.slots], groups_of(2, None)))]
    variants, _ = variants_of(adapters, theta, changes, (0, 1))
    variants = [*variants[:2], *variants[2::4]]
    facts = [*make_facts(4), *make_facts(3, template="rivers/sea")]
    known, prober = Taught(facts, model.text, "t"), Prober("t", text=model.text)
    probes = [Probe("taught", 0, fact, prober.phrasing(fact, 0), known.besides(fact)) for fact in facts]
    asked = [Question(probe.line, probe.alternatives if at % 2 else None) for at, probe in enumerate(probes)]
    found = ask(adapters, variants, asked, CPU)
    for row, variant in enumerate(variants):
        expected = measure(adapters, variant.theta[None], [probes], CPU)
        np.testing.assert_allclose(found.nll[row], expected.scores.answer_nll[0], atol=2e-4)
        np.testing.assert_array_equal(found.recalled[row], expected.scores.recalled[0])
        np.testing.assert_array_equal(found.associated[row, 1::2], expected.associated[0, 1::2])
    assert found.associated[:, ::2].all()  # nobody asked


RUNS: dict[str, dict[str, Any]] = {
    "ranks by layer": {"targets": ["q", "v"], "ranks": [0, 4]},
    "a base of its own": {"targets": ["up", "down"], "reinit": ["up", "down"]},
    "one place": {"targets": ["v"], "ranks": [4, 0]},
    "the base's products in bfloat16": {"precision": "bfloat16"},
}


@pytest.mark.parametrize("name", RUNS)
def test_whatever_adapters_a_run_has_are_located(name, inputs, tmp_path, monkeypatch):
    changes = RUNS[name]
    if "precision" in changes:
        monkeypatch.setattr("atlas.ttt.inputs.require", lambda *_: None)  # whatever runs the tests: it is emulated
        make_measured(inputs, ROUNDED, precision="bfloat16")
    rows = knockouts(located(inputs, tmp_path / "1-2", learned if "reinit" not in changes else None, **changes))
    run = spec(**changes)
    layers = [layer for layer, rank in enumerate(run.ranks) if rank]
    slots = rows.query("unit == 'slot' and change == 'without'")
    found = {(int(layer), role) for layer, role in zip(slots["first_layer"], slots["role"], strict=True)}
    assert found == {(layer, role) for layer in layers for role in run.targets}
    assert ("layer" in {*rows["unit"]}) == (len(layers) > 1)
    assert ("role" in {*rows["unit"]}) == (len(run.targets) > 1)
    assert "half" not in {*rows["unit"]}
    if len(found) == 1:
        alone = rows.set_index(["seed", "change", "unit"])["recalled"]
        for seed in (1, 2):
            assert alone[seed, "without", "slot"] == alone[seed, "without", "all"]
            assert alone[seed, "only", "slot"] == alone[seed, "intact", "all"]


def test_a_sample_is_asked_evenly_where_all_would_cost_too_much(inputs, everywhere, tmp_path):
    asked = {"facts": 4, "judged": 2, "placebo": 3, "windows": 1}
    locate_run(inputs, everywhere, spec(recipe=STILL, **EVERYWHERE), asked, tmp_path)
    rows = pq.read_table(tmp_path / "knockouts.parquet").to_pandas()
    taught = rows[rows["probe"] == "taught"].groupby(["seed", "change", "unit", "role", "first_layer"], dropna=False)
    assert {*taught["session_taught"].agg(tuple)} >= {(1, 2, 3, 4)}
    assert {*rows.query("change == 'intact' and probe == 'taught'")["facts"]} == {1}
    some = knockouts(tmp_path)
    assert {*some["facts"]} == {4}
    assert {*some["judged"]} == {2}
    assert {*some["facts_placebo"]} == {3}
    assert evenly(10, 4) == [0, 3, 6, 9]
    assert evenly(3, None) == evenly(3, 7) == [0, 1, 2]
    assert evenly(0, 5) == []


@pytest.fixture
def spoilt_run(everywhere, tmp_path):
    """A copy of a run that a test may damage."""
    return shutil.copytree(everywhere, tmp_path / "run")


def test_what_is_not_the_run_that_was_asked_for_is_refused_in_one_line(inputs, spoilt_run):
    run = spec(recipe=STILL, **EVERYWHERE)
    for change, words in (
        ({"arm": "other"}, r"run\.json: arm qv, but --spec says other; make the run again"),
        ({"ranks": [4, 5]}, r"run\.json: ranks \[4, 4\], but --spec says \[4, 5\]"),
    ):
        with pytest.raises(AtlasError, match=words):
            locate_run(inputs, spoilt_run, run.model_copy(update=change))
    tensors = load_file(spoilt_run / "adapters.safetensors")
    name = "model.decoder.layers.0.fc1.lora_A"
    save_file({**tensors, name: tensors[name][:, :, :2].contiguous()}, spoilt_run / "adapters.safetensors")
    with pytest.raises(AtlasError, match=rf"{name}: shape \[2, 32, 2\], expected \[2, 32, 4\]; make the run again"):
        locate_run(inputs, spoilt_run, run)
    save_file({key: value for key, value in tensors.items() if key != name}, spoilt_run / "adapters.safetensors")
    with pytest.raises(AtlasError, match=f"{name}: no such tensor; make the run again"):
        locate_run(inputs, spoilt_run, run)
    record = json.loads((spoilt_run / "run.json").read_text())
    for key, value, words in (
        ("method", "finetune", "method finetune, expected lora"),
        ("frozen", record["frozen"] | {"at_start": "0" * 64}, "expected 0000"),
    ):
        (spoilt_run / "run.json").write_text(json.dumps(record | {key: value}))
        with pytest.raises(AtlasError, match=words):
            locate_run(inputs, spoilt_run, run)


@pytest.mark.parametrize(
    ("arm", "words"),
    [
        ({"method": "finetune", "targets": ["q"], "locate": True}, "locate: finetune leaves no LoRA to take apart"),
        ({"method": "rome", "locate": {"groups": 1}}, "locate: rome leaves no LoRA to take apart"),
        ({"targets": ["q"], "locate": {"groups": 5}}, "locate.groups: 5, but the base has 4 layers; write at most 4"),
        ({"targets": ["q"], "locate": {"groups": 4}}, None),
        ({"targets": ["q"], "locate": False}, None),
        ({"method": "rome", "locate": False}, None),
    ],
)
def test_only_adapters_are_located_in_as_many_groups_as_there_are_layers(arm, words):
    said = [*check_arm("arms.a", Arm.model_validate(arm), Model())]
    assert (any(line.startswith(f"arms.a.{words}") for line in said), len(said)) == ((True, 1) if words else (False, 0))
