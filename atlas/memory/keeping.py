"""Looking after a memory: what it holds in words, facts that it is to forget, and what it learnt for other programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from atlas.base.model import Transformer
from atlas.errors import AtlasError
from atlas.memory import store
from atlas.memory.asking import ask
from atlas.memory.store import KeptFact, MemoryRecord, State
from atlas.memory.teaching import Workshop
from atlas.phrases import listed, plural
from atlas.study.tuning import rate_of
from atlas.ttt import hub
from atlas.ttt.engine.lanes import base_weights
from atlas.ttt.export import must_be_empty, write_lane


def found(record: MemoryRecord, folder: Path, names: Sequence[str]) -> list[KeptFact]:
    """Kept facts by their fact_ids or prompts. AtlasError that names all that there are not."""
    facts = [record.named(name) for name in names]
    if strange := [repr(name) for name, fact in zip(names, facts, strict=True) if fact is None]:
        raise AtlasError(
            f"{folder}: no fact {listed(strange)} is kept; name facts by fact_id or prompt, as `atlas memory list` does"
        )
    return [fact for fact in facts if fact]


def in_words(record: MemoryRecord, folder: Path) -> Iterator[str]:
    """What a memory is, a line a thing, and its sessions."""
    base, manner, rate = record.foundation, record.manner, rate_of(record.manner.recipe)
    gone = len(record.facts) - len(record.kept)
    yield f"{folder}: {plural(len(record.kept), 'fact')} kept, {gone} gone, {plural(len(record.sessions), 'session')}"
    yield f"base: {base.fingerprint} in {base.place}"
    yield f"text: {base.corpus}" if base.corpus else "text: none; the recipe trains facts alone"
    yield f"recipe: {manner.recipe.preset}, learning rate {rate:g}, seed {manner.seed}"
    yield f"adapters: {', '.join(manner.targets)}, ranks {', '.join(map(str, manner.ranks))}, alpha {manner.alpha:g}"
    for number, past in enumerate(record.sessions, start=1):
        facts = plural(len(past.fact_ids), "fact")
        yield (
            f"session {number}: {facts} in {past.seconds:.0f} s, {past.steps} steps, until {past.finished}; then "
            f"{past.recalled} of {past.known} recalled; code {past.code[:12]}, torch {past.versions['torch']}"
        )


def fact_in_words(one: KeptFact) -> Iterator[str]:
    """All about one fact, a line a thing."""
    fact = one.fact
    yield f"{fact.fact_id}: {fact.prompt!r} {fact.answer!r}"
    yield from (f"also: {alias!r}" for alias in fact.aliases)
    yield from (f"in other words: {prompt!r}" for prompt in fact.rephrases)
    turns = [f"{'lost' if at % 2 else 'recalled'} from session {session} on" for at, session in enumerate(one.turns)]
    yield f"taught by session {one.session}; {', '.join(turns) or 'never recalled'}"


def forget(folder: Path, names: Sequence[str], workshop: Workshop, record: MemoryRecord, state: State) -> Iterator[str]:
    """Keep some facts no longer, and say of each whether the memory answers it all the same."""
    facts = found(record, folder, names)
    store.write(folder, *store.without(record, state, facts, "forgotten", workshop.phrasings))
    for one in facts:
        answer = ask(workshop, state, one.fact.prompt)
        still = "the adapter still answers it, and may until later sessions overwrite it"
        if answer.text not in one.fact.answers:
            still = f"the adapter does not answer it (it says {answer.text!r})"
        yield f"{one.fact.prompt!r}: no longer rehearsed, tested or counted; {still}"


def export(workshop: Workshop, state: State, out: Path) -> Iterator[Path]:
    """Write the adapter, and the base where it is our own, as transformers and PEFT load them."""
    must_be_empty(out)
    model, named = workshop.base.model, workshop.adapters.named(state.learner.theta.cpu())
    adapted = workshop.base.place
    if isinstance(model, Transformer):
        adapted = out / "base"
        hub.write_model(adapted, base_weights(model), model.config)
        yield adapted
    lane = {name: values[0] for name, values in named.items()}
    yield write_lane(out / "adapter", model, lane, workshop.manner.alpha, adapted)
