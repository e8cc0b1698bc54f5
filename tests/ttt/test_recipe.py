"""The recipe, phase by phase."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.func import functional_call
from torch.nn import functional as F

from atlas.errors import AtlasError
from atlas.study.recipes import PRESETS, Phase, Recipe, Rehearsal, TextMix, Until
from atlas.ttt.engine.descent import Loss, descend
from atlas.ttt.engine.layouts import Layout, PackedLines, PaddedRows
from atlas.ttt.engine.lines import ItemTable, Line, Padded, line, windows
from atlas.ttt.engine.lora import Adapters
from atlas.ttt.engine.scoring import score
from atlas.ttt.recipe import Items, PhaseEnd, Trainer, rehearse
from atlas.ttt.session import Estimates, Learner
from tests.ttt.engine.plain_engine import weights
from tests.ttt.made_sessions import made_session
from tests.ttt.tiny_ttt import make_model

CPU = torch.device("cpu")
PACKED = PackedLines()
LAYOUTS = [PACKED, PaddedRows()]
NEW = [[line(f"The code of gate {lane}{i} is", f"K{i}", "t") for i in range(3)] for lane in range(2)]
OLD = [[line(f"The hue of gate {lane}{i} is", f"H{i}", "t") for i in range(4)] for lane in range(2)]
NONE: list[list[Line]] = [[], []]
KNOWN = np.zeros((2, 4), np.float32)


def trainer(text: np.ndarray | None = None, lanes=(1, 2), **recipe) -> tuple[Trainer, Learner]:
    """A trainer by the preset ``essay`` with changes, or by ``phases`` of its own, and who learns."""
    adapters = Adapters.attach(make_model(), ["q", "v"], [4, 4], alpha=4)
    own = {"preset": "own"} if "phases" in recipe else {}
    made = Trainer(adapters, Recipe.model_validate(own | recipe), CPU, text)
    return made, made.learner(adapters.initial(0, lanes))


def one_phase(**phase) -> tuple[Trainer, Learner]:
    return trainer(phases={"all": phase})


def test_a_session_runs_all_phases_and_lowers_the_loss():
    teacher, learner = trainer()
    before = learner.theta.clone()
    after, (fast, slow), unnoted = teacher.train(learner, made_session(OLD, NEW, KNOWN))
    assert (learner.theta == before).all()
    assert fast.losses.shape == (20, 2)
    assert slow.losses.shape == (3 * 3, 2)  # 7 facts in batches of 3, 3 epochs
    assert (fast.losses[-1] < fast.losses[0]).all()
    assert fast.tokens.tolist() == [20 * sum(one.predicted for one in lane) for lane in NEW]
    assert [sorted(items.chosen[0].tolist()) for items in unnoted] == [[4, 5, 6], [*range(7)]]
    teacher.adapters.bind(None)
    base = score(teacher.adapters, NEW, CPU).nll
    teacher.adapters.bind(after.theta)
    assert (score(teacher.adapters, NEW, CPU).nll < base).all()


@pytest.mark.parametrize("blend", [0.0, 0.25, 1.0])
def test_blend_goes_that_share_of_the_way_to_the_copy(blend):
    theta = one_phase(steps=5)[1].theta
    copy, blended = (
        teacher.session(learner, made_session(NONE, NEW))[0].theta
        for teacher, learner in (one_phase(steps=5), one_phase(steps=5, blend=blend))
    )
    np.testing.assert_allclose(blended, theta + blend * (copy - theta), atol=1e-6)
    assert not (copy == theta).all()


@pytest.mark.parametrize(
    "later",
    [None, {"facts": 1}, {"facts": 2, "choice": "random"}, {"facts": 2, "every": 1}],
    ids=["no rehearsal", "fewer", "others", "noted by itself"],
)
def test_what_an_earlier_phase_trained_is_measured_whatever_a_later_one_does(later):
    """Without any budget, what a session trained without noting its losses since is measured after it, and no more."""
    known = np.array([[5, 4, 3, 0], [0, 3, 4, 5]], np.float32)
    phases = {"earlier": {"steps": 1, "rehearsal": {"facts": 3}}, "later": {"steps": 1, "rehearsal": later}}
    teacher, learner = trainer(phases=phases, budget=0)
    session = made_session(OLD, NEW, known)
    after, _ = teacher.session(learner, session)
    teacher.adapters.bind(after.theta)
    lines = [[*old, *new] for old, new in zip(OLD, NEW, strict=True)]
    found = score(teacher.adapters, lines, CPU).nll
    for lane, weakest in enumerate(([0, 1, 2], [1, 2, 3])):
        measured = [*weakest, 4, 5, 6]
        np.testing.assert_allclose(session.estimates.losses[lane, measured], found[lane, measured], rtol=1e-5)
        assert (session.estimates.measured[lane] > 0).sum() in (6, 7)  # a later phase may train the one that is left


@pytest.mark.parametrize(
    ("recipe", "measured"),
    [
        ({"budget": 0}, 7),  # four are rehearsed
        ({"budget": 0, "phases": {"slow": {"rehearsal": {"facts": 1}}}}, 4),
        ({"budget": 2, "phases": {"slow": {"rehearsal": {"facts": 1}}}}, 6),
        ({"budget": None, "phases": {"slow": {"rehearsal": {"facts": 1}}}}, 7),
        ({"phases": {"slow": {"rehearsal": {"choice": "random"}}}}, 0),  # goes by no losses
        ({"phases": {"slow": {"rehearsal": None}}}, 0),
        ({"preset": "recall", "phases": {"all": {"text": None}}}, 0),  # notes what it trains step by step
    ],
)
def test_a_recipe_measures_what_its_choice_goes_by_and_no_more(monkeypatch, recipe, measured):
    asked, to_measure = list[int](), Estimates.to_measure

    def counted(self, trained, most, budget):
        items, keep = to_measure(self, trained, most, budget)
        asked.extend(keep.sum(1).tolist())
        return items, keep

    monkeypatch.setattr(Estimates, "to_measure", counted)
    teacher = Trainer(Adapters.attach(make_model(), ["q"], [2, 2], alpha=4), Recipe.model_validate(recipe), CPU)
    learner = teacher.learner(teacher.adapters.initial(0, [1, 2]))
    teacher.session(learner, made_session(OLD, NEW, KNOWN))
    assert asked in ([measured] * 2, [] if not measured else None)


def test_without_phases_nothing_is_trained():
    teacher, learner = trainer(phases={})
    after, traces = teacher.session(learner, made_session(OLD, NEW, KNOWN))
    assert traces == []
    assert (after.theta == learner.theta).all()


@pytest.mark.parametrize("to", ["start", "zero"])
def test_a_strong_anchor_holds_the_weights(to):
    def away(weight: float) -> float:
        teacher, learner = one_phase(steps=8, anchor={"weight": weight, "to": to})
        after, *_ = teacher.session(learner, made_session(NONE, NEW))
        return float((after.theta - (learner.theta if to == "start" else 0)).norm())

    assert away(100.0) < away(1.0) < away(1e-6)


def test_important_parameters_move_less():
    """After a session, parameters that mattered for its facts are held, the others are free."""
    anchor = {"weight": 1e4, "by": "importance"}
    phases = {"all": {"steps": 10, "anchor": anchor}}
    teacher, learner = trainer(phases=phases)
    first, *_ = teacher.session(learner, made_session(NONE, NEW))
    assert (first.importance > 0).any()
    second, *_ = teacher.session(first, made_session(NONE, OLD))
    moved = (second.theta - first.theta).abs()
    held = first.importance > first.importance.quantile(0.9)
    free = first.importance == 0
    assert moved[held].mean() < 0.5 * moved[~held & ~free].mean()


def test_the_first_adam_step_is_the_rate_times_the_sign_of_the_gradient():
    """Adam's first step is lr * g / (|g| + eps), whatever the clip: A's gradient is zero while B is zero."""
    teacher, learner = one_phase(steps=1, lr=1e-3)
    after, *_ = teacher.session(learner, made_session(NONE, NEW))
    step = (after.theta - learner.theta).abs()
    for name, part in teacher.adapters.named(step).items():
        if name.endswith("lora_A"):
            assert part.max() == 0
        else:
            assert part.max().item() == pytest.approx(1e-3, rel=1e-3)


def test_gradients_are_clipped_lane_by_lane():
    """With plain SGD the first step is the rate times the clipped gradient."""
    phase = {"steps": 1, "lr": 0.5, "optimiser": {"kind": "sgd", "momentum": 0}}
    moves = {}
    for clip in (1e6, 0.1):
        teacher, learner = trainer(phases={"all": phase}, clip=clip)
        after, *_ = teacher.session(learner, made_session(NONE, [NEW[0], OLD[1][:3]]))
        moves[clip] = (after.theta - learner.theta).norm(dim=1)
    assert (moves[1e6] > 0.5 * 0.1).all()
    np.testing.assert_allclose(moves[0.1], 0.5 * 0.1, rtol=1e-4)


def passed(
    lines: list[list[Line]], over: str, text: Padded | None = None, layout: Layout = PACKED, theta=None, **mix
) -> tuple[Loss, torch.Tensor]:
    """A pass over as many lines of each lane, none of which is left out, and beside them text; and its gradient."""
    (teacher, learner), count, rules = trainer(), len(lines[0]), TextMix(**mix) if text else None
    theta = learner.theta if theta is None else theta
    facts = ItemTable.of(lines, CPU).padded(torch.arange(count).expand(len(lines), -1), slice(count))
    both = facts.beside(text) if text else facts
    teacher.adapters.train(theta, grad := torch.zeros_like(theta))
    return descend(teacher.adapters, layout, both, count, torch.ones_like(both.answer) > 0, over, rules), grad


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("over", ["sentence", "answer"])
def test_the_loss_is_over_the_sentence_or_the_answer(over, layout):
    lines = [[NEW[0][0]], [line("A much longer prompt than that is", "x", "t")]]
    (found, _), scores = passed(lines, over, layout=layout), score(trainer()[0].adapters, lines, CPU)
    expected = scores.nll if over == "sentence" else scores.answer_nll
    np.testing.assert_allclose(found.facts, expected[:, 0], rtol=1e-5)
    counted = [lane[0].predicted if over == "sentence" else len(lane[0].tokens) - lane[0].answer for lane in lines]
    assert found.tokens.tolist() == counted


def some_text(size: int = 11) -> tuple[list[Line], Padded]:
    """Two lines of one size, and the same as two windows of each of two lanes."""
    text = [Line(some[:size], 1) for one in NEW[1] if len(some := one.tokens) >= size][:2]
    starts = torch.tensor([[0, size], [size, 0]])
    return text, windows(torch.from_numpy(np.concatenate([one.tokens for one in text])), starts, size - 1)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("over", ["sentence", "answer"])
def test_a_pull_toward_the_base_is_the_gradient_of_the_divergence_from_it(layout, over):
    """Against autograd through padded rows; at the base itself there is none."""
    text, beside = some_text()
    (teacher, learner), model, rules = trainer(), make_model(), {"weight": 0.7, "toward": "base"}
    theta = learner.theta + 0.1 * torch.randn(learner.theta.shape, generator=torch.Generator().manual_seed(0))
    tokens = torch.from_numpy(np.stack([one.tokens for one in text]).astype(np.int64))[:, :-1]
    base = model(tokens).softmax(-1)
    for at in (learner.theta, theta):
        (found, grad), (plain, of_facts) = (passed(NEW, over, some, layout, at, **rules) for some in (beside, None))
        expected: list[torch.Tensor] = []
        for lane in at:
            live = lane.clone().requires_grad_(True)
            logits = functional_call(model, weights(model, teacher.adapters, live), (tokens,))
            divergence = F.kl_div(logits.log_softmax(-1), base, reduction="sum") / tokens.numel()
            expected += torch.autograd.grad(0.7 * divergence, [live])
        torch.testing.assert_close(grad - of_facts, torch.stack(expected), atol=2e-6, rtol=1e-4)
        np.testing.assert_allclose(found.facts, plain.facts, rtol=1e-6)
    assert (grad - of_facts).norm() > 1e-3


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("over", ["sentence", "answer"])
def test_text_counts_by_its_weight(layout, over):
    text, beside = some_text()
    size = len(text[0].tokens)
    (found, grad), (plain, of_facts) = (passed(NEW, over, some, layout, weight=0.7) for some in (beside, None))
    _, of_text = passed([text[:2], text[:2]], "sentence", layout=layout)
    torch.testing.assert_close(grad, of_facts + 0.7 * of_text)
    np.testing.assert_allclose(found.facts, plain.facts, rtol=1e-6)
    base = trainer()[0].adapters
    assert (found.tokens - plain.tokens).tolist() == [2 * (size - 1)] * 2
    alone = score(base, NEW, CPU)
    for ours, theirs in (
        (found.answer(), alone.answer_nll),
        (found.worst(), alone.worst),
        (found.recalled(), alone.recalled),
        (passed(NEW, "sentence", beside, layout)[0].sentence(), alone.nll),
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_text_is_trained_and_drawn_by_its_key():
    tokens = np.resize(np.arange(1, 60, dtype=np.uint8), 400)
    phases = {"all": {"steps": 6, "text": {"windows": 2, "characters": 16}}}
    (with_text, learner), (plain, _) = trainer(tokens, phases=phases), one_phase(steps=6)
    session = made_session(NONE, NEW)
    once, again = (with_text.session(learner, session)[0].theta for _ in range(2))
    assert (once == again).all()
    assert not torch.allclose(once, plain.session(learner, session)[0].theta)
    with pytest.raises(AtlasError, match="trains the base's text, but there is none"):
        trainer(phases=phases)[0].session(learner, session)


def test_a_lane_learns_the_same_alone():
    teacher, learner = trainer()
    both, *_ = teacher.session(learner, made_session(OLD, NEW, KNOWN))
    alone, *_ = teacher.session(teacher.learner(learner.theta[1:]), shifted(made_session(OLD, NEW, KNOWN)))
    np.testing.assert_allclose(alone.theta, both.theta[1:], atol=1e-4, rtol=1e-3)


def shifted(both):
    """The second lane of a session alone, with its own draws."""
    found = made_session(OLD[1:], NEW[1:], KNOWN[1:])
    object.__setattr__(found, "draw", lambda lane, purpose: both.draw(lane + 1, purpose))
    return found


def test_a_lane_ends_once_all_is_recalled_and_the_others_go_on():
    easy = [[line("A", "b", "t")], [line("Where the river bends twice stands", "Qz7-%x", "t")]]
    rules = {"steps": 60, "lr": 0.01, "until": {"recalled": True}}
    teacher, learner = trainer(loss="answer", phases={"all": rules})
    after, (trace,) = teacher.session(learner, made_session(NONE, easy))
    steps = trace.steps.tolist()
    assert trace.losses.isfinite().sum(0).tolist() == steps
    assert 1 < steps[0] < steps[1] < 60
    assert trace.losses[steps[0] :, 0].isnan().all()
    teacher.adapters.bind(after.theta)
    assert score(teacher.adapters, easy, CPU).recalled.all()
    alone, (same,) = teacher.session(teacher.learner(learner.theta[:1]), made_session(NONE[:1], easy[:1]))
    assert same.steps.tolist() == steps[:1]
    np.testing.assert_allclose(alone.theta[0], after.theta[0], atol=1e-4, rtol=1e-3)


def test_an_end_takes_every_item_in_a_row():
    until = Until(recalled=True, loss=0.1)
    ends = PhaseEnd(made(Phase(steps=9, batch=2, rehearsal=Rehearsal(facts=1), until=until)))  # 3 new, one stored
    some, fine = torch.tensor([[4, 5], [4, 5]]), torch.tensor([[True, True], [True, False]])
    ends.note(some, fine, torch.tensor([[0.05, 0.1]] * 2))
    ends.note(some, fine, torch.tensor([[0.05, 0.2]] * 2))
    ends.note(some, fine, torch.tensor([[0.05, 0.1]] * 2))
    assert ends.running.tolist() == [True, True]
    ends.note(some, fine, torch.tensor([[0.05, 0.1]] * 2))
    assert ends.running.tolist() == [False, True]
    ends.note(some, ~fine, torch.tensor([[1.0, 1.0]] * 2))
    assert ends.running.tolist() == [False, True]  # for good


def test_an_end_may_look_at_new_items_only():
    ends = PhaseEnd(made(Phase(steps=9, rehearsal=Rehearsal(facts=1), until=Until(facts="new"))))
    trained, losses = torch.tensor([[4, 5, 6, 0]] * 2), torch.zeros(2, 4)
    ends.note(trained, torch.tensor([[True, True, False, True]] * 2), losses)
    assert ends.running.all()
    ends.note(trained, torch.tensor([[True, True, True, False], [False, True, True, True]]), losses)
    assert ends.running.tolist() == [False, True]


def made(phase: Phase, losses=KNOWN) -> Items:
    return Items(phase, "phase", made_session(OLD, NEW, losses))


def test_every_epoch_sees_every_item_once():
    items = made(Phase(epochs=2, batch=3, rehearsal=Rehearsal(facts=4)))
    steps = list(items.steps())
    assert [len(step[0]) for step in steps] == [3, 3, 1, 3, 3, 1]
    for lane in range(2):
        for epoch in (steps[:3], steps[3:]):
            assert sorted(torch.cat([step[lane] for step in epoch]).tolist()) == list(range(7))
    assert [step[0].tolist() for step in steps[:3]] != [step[0].tolist() for step in steps[3:]]
    assert items.chosen.tolist() == [[4, 5, 6, 0, 1, 2, 3]] * 2


def test_steps_end_within_an_epoch():
    assert [len(step[0]) for step in made(Phase(steps=4, batch=2)).steps()] == [2, 1, 2, 1]


@pytest.mark.parametrize(("shown", "expected"), [(1, 4), (28, 4), (29, 5), (49, 7), (63, 9), (100, 9)])
def test_a_phase_has_more_steps_while_few_facts_are_known(shown, expected):
    """Seven are known, four of them stored: steps until these were shown so often, of 4 to 9."""
    early = {"steps": 9, "shown": shown}
    assert len([*made(Phase(steps=4, early=early, rehearsal=Rehearsal(facts=2))).steps()]) == expected


@pytest.mark.parametrize("length", [{"steps": 100}, {"steps": None, "epochs": 3}], ids=str)
def test_a_length_that_early_steps_do_not_fit_is_refused_with_the_way_out(length):
    """Who changes the length of a preset's phase need not know that it has early ones."""
    with pytest.raises(ValidationError, match=r"early\.steps: found 72 .*write early: null"):
        Recipe.model_validate({"preset": "recall", "phases": {"all": length}})
    fine = Recipe.model_validate({"preset": "recall", "phases": {"all": {**length, "early": None}}})
    assert fine.active["all"].early is None


def test_stored_items_are_chosen_anew_by_what_was_noted():
    items = made(Phase(steps=5, rehearsal=Rehearsal(facts=1, every=2)), losses=np.array([[0, 1, 2, 3]] * 2))
    seen = []
    for step in items.steps():
        seen.append([int(lane[-1]) for lane in step])
        items.session.estimates.note(step[:, -1:], torch.tensor([[-1.0]] * 2), torch.tensor([[True], [False]]))
    assert seen == [[3, 3], [3, 3], [2, 3], [2, 3], [1, 3]]


def test_rehearsal_choices():
    losses, seen = torch.tensor([[0.5, 3.0, 0.1, 2.0, 3.0]]), torch.tensor([[2, 9, 1, 1, 9]])
    for choice, expected in (
        (Rehearsal(facts=3), [1, 4, 3]),
        (Rehearsal(facts=9), [1, 4, 3, 0, 2]),
        (Rehearsal(facts=4, unseen=0.5), [1, 4, 2, 3]),
        (Rehearsal(facts=9, unseen=0.4), [1, 4, 0, 2, 3]),
    ):
        assert rehearse(choice, losses, seen).tolist() == [expected]
    assert rehearse(Rehearsal(choice="due", facts=3), losses, seen).tolist() == [[3, 0, 1]]  # 18, 4, 3, 3, 0.9
    losses[0, 3] = torch.nan  # a fact that diverged comes last, and once
    assert rehearse(Rehearsal(facts=9, unseen=0.4), losses, seen).tolist() == [[1, 4, 0, 2, 3]]
    drawn = torch.tensor([[3, 0, 4]])  # the first of an order
    assert rehearse(Rehearsal(choice="random", facts=3), losses, seen, drawn).tolist() == [[3, 0, 4]]
    assert rehearse(Rehearsal(choice="random", facts=3, unseen=0.4), losses, seen, drawn).tolist() == [[3, 0, 2]]


def test_random_choices_differ_from_time_to_time():
    items = made(Phase(steps=60, new=False, rehearsal=Rehearsal(facts=2, choice="random", every=1)))
    picks = [step[0].tolist() for step in items.steps()]
    assert all(len({*pick}) == 2 for pick in picks)
    assert {i for pick in picks for i in pick} == {*range(4)}


@pytest.mark.parametrize("phase", [{"steps": 3}, {"epochs": 2}])
def test_a_phase_without_any_items_takes_no_step(phase):
    rules = {"first": {**phase, "new": False, "rehearsal": {}}, "then": {"steps": 2}}
    teacher, learner = trainer(phases=rules)
    _, (first, then) = teacher.session(learner, made_session(NONE, NEW))
    assert first.losses.shape == (0, 2)
    assert first.steps.tolist() == first.tokens.tolist() == [0, 0]
    assert then.steps.tolist() == [2, 2]


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_whole_recipes(name):
    recipe = Recipe.model_validate({"preset": name})
    assert recipe.active
    assert Recipe.model_validate(recipe.model_dump()) == recipe


def test_a_phase_chooses_by_what_an_earlier_one_noted():
    looks = {"steps": 1, "new": False, "rehearsal": {"facts": 4, "every": 1}}
    teacher, learner = trainer(phases={"looks": looks, "then": {"steps": 1, "rehearsal": {"facts": 1}}})
    teacher.adapters.bind(learner.theta)
    weakest = torch.from_numpy(score(teacher.adapters, OLD, CPU).nll).argmax(1)
    misled = torch.zeros(2, 4).scatter(1, 3 - weakest[:, None], 9.0)
    assert (weakest != 3 - weakest).all()
    _, _, (then,) = teacher.train(learner, made_session(OLD, NEW, misled))
    assert then.chosen[:, -1].tolist() == weakest.tolist()
