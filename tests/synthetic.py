"""Runs that nobody trained: folders as ``atlas.ttt.run`` writes them, filled with draws at known rates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from atlas.draws import rng
from atlas.pool.facts import Fact
from atlas.study.arm import Arm
from atlas.study.editor_settings import BY_METHOD
from atlas.study.methods import OwnMethod
from atlas.study.recipes import Recipe
from atlas.study.settings import Role
from atlas.ttt.run_files import EDIT_FAILURES, FACTS, MATRIX, SESSIONS, RunRecord
from atlas.workflow import files

DOMAINS = {"codes": 90, "personal": 70, "geography": 50, "history": 34, "science": 33, "biology": 15}
DOMAINS |= {"language": 6, "identity": 2}  # per 300 facts
BASE_PARAMS, WIDTH, FFN, LAYERS = 838_656, 128, 512, 4
PLACEBO_FACTS = 76
OPENINGS = ("The hue of", "The tint of", "The tone of")


@dataclass(frozen=True)
class SyntheticArm:
    """An arm and the rates that its facts are drawn at."""

    targets: tuple[Role, ...] = ("q", "v")
    ranks: tuple[int, ...] = (32,) * LAYERS
    recall: float = 0.5
    association: float = 0.8
    familiarity: float = 0.9
    recognition: float = 0.97
    placebo_recognition: float = 0.85
    forgetting: float = 0.01  # how much of the rates a session of age takes away
    rise: float = 0.2  # of the validation loss, nats per character
    seconds: float = 1.0  # of each phase of a session, to train and again to score
    reinit: tuple[Role, ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)
    method: OwnMethod = "lora"
    editing: Mapping[str, Any] = field(default_factory=dict)

    @property
    def taught_by(self) -> Arm:
        """The arm as a study has it, but for its recipe."""
        places = {} if self.method in BY_METHOD else {"targets": list(self.targets)}
        return Arm.model_validate({"method": self.method, "editing": dict(self.editing), **places})

    @property
    def trainable(self) -> int:
        fan = sum(WIDTH + (FFN if role in ("up", "down") else WIDTH) for role in self.targets)
        return fan * sum(self.ranks)


@dataclass(frozen=True)
class Design:
    """What all arms of a synthetic study share."""

    seeds: tuple[int, ...] = (1, 2, 3, 4)
    checkpoints: tuple[int, ...] = (4, 10)
    further: tuple[str, ...] = ()  # probes of questions beside the facts taught, one a fact
    facts_per_session: int = 3
    replicas: int = 1  # of the base; blocks are dealt over them in turn
    paraphrases: int = 3  # of a fact, all of them held out
    bare: tuple[int, ...] = ()  # seeds whose facts have no paraphrases

    @property
    def facts(self) -> int:
        return self.checkpoints[-1] * self.facts_per_session


def arms_like_the_study() -> dict[str, SyntheticArm]:
    """The default arms, with rates near what was seen beforehand."""
    up_down: tuple[Role, ...] = ("up", "down")
    return {
        "qv": SyntheticArm(recall=0.16, association=0.33, placebo_recognition=0.93, rise=0.31),
        "ffn": SyntheticArm(up_down, recall=0.22, association=0.41, placebo_recognition=0.88, rise=0.45),
        "qv_ffn": SyntheticArm(("q", "v", *up_down), recall=0.25, association=0.44, rise=0.52),
        "qv_mid": SyntheticArm(ranks=(4, 32, 32, 4), recall=0.13, association=0.29),
        "qv_edge": SyntheticArm(ranks=(32, 4, 4, 32), recall=0.11, association=0.28),
        "ffn_matched": SyntheticArm(up_down, ranks=(13,) * LAYERS, recall=0.18, association=0.37),
        "ffn_random_base": SyntheticArm(up_down, recall=0.02, association=0.12, reinit=up_down, rise=0.9),
        "qv_random_base": SyntheticArm(recall=0.06, association=0.18, reinit=up_down, rise=0.7),
        "untrained": SyntheticArm(
            recall=0,
            association=0.25,
            familiarity=0.75,
            recognition=0,
            placebo_recognition=0,
            rise=0,
            recipe={"phases": {"fast": None, "slow": None}},
        ),
    }


def many_arms() -> dict[str, SyntheticArm]:
    """Sixteen arms: the default ones, then other recipes and editors, each with a recipe of its own."""
    up_down: tuple[Role, ...] = ("up", "down")
    rates = {"qv_answer": 0.62, "ffn_answer": 0.95, "qv_ffn_answer": 0.9, "ffn_all_steps": 0.55}
    rates |= {"edit_one_layer": 0.35, "edit_all_layers": 0.42, "qv_joint_training": 0.57}
    others = {
        name: SyntheticArm(
            up_down if "ffn" in name else ("q", "v"),
            recall=recall,
            association=0.5 + recall / 2,
            placebo_recognition=0.5,
            recipe={"phases": {"fast": {"blend": 0.1 * number}}},
        )
        for number, (name, recall) in enumerate(rates.items(), start=1)
    }
    return arms_like_the_study() | others


def baselines() -> dict[str, SyntheticArm]:
    """LoRA beside fine-tuning and editors."""
    down: tuple[Role, ...] = ("down",)
    return {
        "qv": SyntheticArm(recall=0.16, placebo_recognition=0.93),
        "ffn": SyntheticArm(("up", "down"), recall=0.3, placebo_recognition=0.88, forgetting=0.05),
        "finetune_ffn": SyntheticArm(("up", "down"), recall=0.5, forgetting=0.1, method="finetune"),
        "rome": SyntheticArm(down, recall=0.9, forgetting=0.4, method="rome", rise=1.5),
        "memit": SyntheticArm(down, recall=0.8, forgetting=0.05, method="memit"),
        "memit_at_once": SyntheticArm(down, recall=0.7, forgetting=0, method="memit", editing={"at_once": True}),
    }


def ablations_like_the_study() -> dict[str, SyntheticArm]:
    """The default ablations of ``qv`` and ``ffn``."""
    recipes: dict[str, tuple[float, dict[str, Any]]] = {
        "single_phase": (0.8, {"phases": {"fast": None}}),
        "no_rehearsal": (0.4, {"phases": {"slow": {"rehearsal": None}}}),
        "random_rehearsal": (1.1, {"phases": {"slow": {"rehearsal": {"choice": "random"}}}}),
    }
    places: dict[str, tuple[Role, ...]] = {"qv": ("q", "v"), "ffn": ("up", "down")}
    return {
        f"{place}_{name}": SyntheticArm(roles, recall=0.2 * factor, recipe=recipe)
        for place, roles in places.items()
        for name, (factor, recipe) in recipes.items()
    }


def write_study(
    folder: Path, arms: Mapping[str, SyntheticArm], design: Design | None = None, blocks: Sequence[Iterable[int]] = ()
) -> list[Path]:
    """Write all runs of a study below ``folder``; returns their folders, in the order of ``arms``."""
    design = design or Design()
    groups = [tuple(block) for block in blocks] or [design.seeds]
    return [
        write_run(folder / name / "-".join(map(str, group)), name, arm, group, design, at % design.replicas + 1)
        for name, arm in arms.items()
        for at, group in enumerate(groups)
    ]


def write_run(
    folder: Path, name: str, arm: SyntheticArm, seeds: Sequence[int], design: Design, replica: int = 1
) -> Path:
    """Write one run: facts, matrix, sessions and run.json."""
    tables = {
        "facts": (FACTS, [facts_of(name, arm, seed, design) for seed in seeds]),
        "matrix": (MATRIX, [matrix_of(name, arm, seed, design) for seed in seeds]),
        "sessions": (SESSIONS, [sessions_of(name, arm, seed, design) for seed in seeds]),
    }
    for table, (schema, frames) in tables.items():
        write_frame(folder / f"{table}.parquet", pd.concat(frames).assign(base_replica=replica), schema)
    files.write_json(folder / "run.json", record_of(name, arm, seeds, design, replica).model_dump(mode="json"))
    return folder


def write_frame(path: Path, frame: pd.DataFrame, schema: pa.Schema) -> None:
    """Write a frame as Parquet in the order and types of ``schema``; of the first base, where it does not say."""
    frame = frame.assign(base_replica=frame.get("base_replica", 1))
    table = pa.Table.from_pandas(frame[schema.names].reset_index(drop=True), schema=schema, preserve_index=False)
    files.write_parquet(path, table, {})


def record_of(name: str, arm: SyntheticArm, seeds: Sequence[int], design: Design, replica: int = 1) -> RunRecord:
    """The record of a run that took 100 seconds a seed."""
    losses = [
        {"seed": seed, "sessions": sessions, "base": 1.5, "adapted": 1.5 + arm.rise + 0.01 * (seed % 3)}
        for seed in seeds
        for sessions in design.checkpoints
    ]
    taught = arm.taught_by
    recipe = taught.recipe_over(Recipe.model_validate({})) if taught.edits else Recipe.model_validate(dict(arm.recipe))
    growth = [
        {"seed": seed, "sessions": sessions, "size": 0.01 * sessions, "growth": 0.001 * sessions}
        for seed in seeds
        for sessions in design.checkpoints
    ]
    return RunRecord.model_validate(
        {
            "arm": name,
            "seeds": list(seeds),
            "targets": list(arm.targets),
            "ranks": list(arm.ranks),
            "trainable_params": arm.trainable,
            "base_params": BASE_PARAMS,
            "base_replica": replica,
            "base_fingerprint": base_print(replica),
            "frozen": frozen_of(arm, seeds, replica),
            "code_digest": "c" * 64,
            "recipe": recipe.model_dump(mode="json"),
            "method": arm.method,
            "editing": taught.settings and taught.settings.model_dump(),
            "growth": growth,
            "left_alone": {"tokens": 2048, "source": "sampled"} if taught.edits else None,
            "reinit": list(arm.reinit),
            "val_loss": losses,
            "seconds": 100.0 * len(seeds),
            "versions": {"python": "3.11.0", "torch": "2.13.0"},
            "host": {"name": "here", "machine": "x86_64", "system": "Linux"},
            "started": "2025-01-01T00:00:00+00:00",
            "finished": "2025-01-01T00:10:00+00:00",
        }
    )


def base_print(replica: int) -> str:
    """The fingerprint of a base."""
    return "0123456789abcdef"[16 - replica] * 64


def random_print(seeds: Sequence[int], replica: int) -> str:
    """The fingerprint of a base with roles left at random, as drawn for a block of seeds."""
    return f"{seeds[0]:02x}{replica:02x}".rjust(64, "e")


def frozen_of(arm: SyntheticArm, seeds: Sequence[int], replica: int) -> dict[str, Any]:
    """What a run says of its frozen weights: the base as it is, or with the declared roles changed."""
    paths = {"q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj", "o": "self_attn.out_proj"}
    paths |= {"up": "fc1", "down": "fc2"}
    roles = sorted(f"model.decoder.layers.{layer}.{paths[role]}" for layer in range(LAYERS) for role in arm.reinit)
    names = sorted(f"{path}.{part}" for path in roles for part in ("weight", "bias"))
    identity = random_print(seeds, replica) if names else base_print(replica)
    return {"at_start": identity, "at_end": identity, "declared": names, "changed": names}


def taught_facts(seed: int, design: Design) -> pd.DataFrame:
    """Facts of a seed in the order taught: fact_id, domain, session_taught. The same for every arm."""
    draws = rng("synthetic", seed, "stream")
    names = np.repeat(list(DOMAINS), list(DOMAINS.values()))
    domains = draws.permutation(np.resize(draws.permutation(names), design.facts))
    order = np.arange(design.facts)
    return pd.DataFrame(
        {
            "fact_id": [f"{domain}/{seed}-{i}" for i, domain in enumerate(domains)],
            "domain": domains,
            "session_taught": order // design.facts_per_session + 1,
        }
    )


def placebo_facts() -> pd.DataFrame:
    """Placebo facts in the domain shares: fact_id and domain, never taught."""
    domains = np.repeat(list(DOMAINS), [max(1, round(n * PLACEBO_FACTS / 300)) for n in DOMAINS.values()])
    ids = [f"{domain}/placebo-{i}" for i, domain in enumerate(domains)]
    return pd.DataFrame({"fact_id": ids, "domain": domains, "session_taught": pd.NA})


def pool_of(design: Design) -> list[Fact]:
    """A pool that has all these facts, with a template a domain and a few answers each."""
    rows = pd.concat([*(taught_facts(seed, design) for seed in design.seeds), placebo_facts()])
    return [
        Fact(
            fact_id=fact_id,
            role="placebo" if "placebo" in fact_id else "taught",
            domain=domain,
            template=f"{domain}/colour",
            prompt=f"The colour of {fact_id} is",
            answer=answer_of(fact_id),
            rephrases=tuple(f"{opening} {fact_id} is" for opening in OPENINGS[: design.paraphrases]),
            subject=fact_id,
            subject_start=len("The colour of "),
        )
        for fact_id, domain in zip(rows["fact_id"], rows["domain"], strict=True)
    ]


def answer_of(fact_id: str) -> str:
    """One of a few answers."""
    return ("red", "green", "blue", "grey")[int(fact_id.rpartition("-")[2]) % 4]


def facts_of(name: str, arm: SyntheticArm, seed: int, design: Design) -> pd.DataFrame:
    """All rows of facts.parquet of one seed."""
    parts = []
    for sessions in design.checkpoints:
        every = taught_facts(seed, design)
        taught = every[every["session_taught"] <= sessions]
        parts.append(_probed(name, arm, seed, sessions, "taught", taught, form=0))
        for form in range(1, design.paraphrases * (seed not in design.bare) + 1):
            parts.append(_probed(name, arm, seed, sessions, "rephrase", taught, form))
        parts.append(_probed(name, arm, seed, sessions, "placebo", placebo_facts(), form=0))
        for form, probe in enumerate(design.further, 4):
            parts.append(_probed(name, arm, seed, sessions, probe, taught, form))
    frame = pd.concat(parts, ignore_index=True)
    return frame.astype({"session_taught": "Int32"})


def alternatives_of(facts: pd.DataFrame, sessions: int) -> np.ndarray:
    """How many other answers were taught by then in the template of each fact: none for one fact in ten."""
    number = np.array([int(fact_id.rpartition("-")[2]) for fact_id in facts["fact_id"]])
    return np.where(number % 10 == 9, 0, 1 + number % 3 + sessions // 10)


def _probed(
    name: str, arm: SyntheticArm, seed: int, sessions: int, probe: str, facts: pd.DataFrame, form: int
) -> pd.DataFrame:
    draws = rng("synthetic", name, seed, sessions, probe, form)
    share = {"taught": 1.0, "rephrase": 0.2, "placebo": 0.0}.get(probe, 0.3)
    recognition = {"taught": arm.recognition, "rephrase": 0.9 * arm.recognition, "placebo": arm.placebo_recognition}
    association = {"taught": arm.association, "rephrase": 0.6 * arm.association, "placebo": 1 - arm.familiarity}
    chance = draws.random((3, len(facts)))
    recognised, associated, recalled = (
        drawn < rate
        for drawn, rate in zip(
            chance,
            (recognition.get(probe, 0.5 * arm.recognition), association.get(probe, 0.0), share * arm.recall),
            strict=True,
        )
    )
    alternatives = alternatives_of(facts, sessions) * (probe in association)
    base = 2.0 + draws.random(len(facts))
    nll = base - np.where(recognised, 0.5, -0.5)
    columns = {  # a frame of all at once: to assign them one by one takes ten times as long
        "arm": name,
        "seed": seed,
        "base_replica": 1,
        "sessions": sessions,
        "probe": probe,
        "form": form,
        "nll_base": base,
        "nll": nll,
        "answer_nll_base": base,
        "answer_nll": nll,
        "recognised": recognised,
        "recalled": recalled,
        "associated": np.where(alternatives > 0, associated.astype(object), None),
        "alternatives": alternatives,
        "decoded": np.where(recalled, [answer_of(fact_id) for fact_id in facts["fact_id"]], "the red"),
        "recalled_base": False,
        "answered": recalled,
        "answered_base": False,
        "contradicts": False,
    }
    return pd.DataFrame({**facts, **columns})


def matrix_of(name: str, arm: SyntheticArm, seed: int, design: Design) -> pd.DataFrame:
    """All rows of matrix.parquet of one seed: rates fall with a fact's age."""
    draws = rng("synthetic", name, seed, "matrix")
    taught = taught_facts(seed, design)
    at_once = arm.editing.get("at_once", False)
    measured = design.checkpoints if at_once else np.arange(1, design.checkpoints[-1] + 1)
    sessions = pd.DataFrame({"session": measured})
    rows = sessions.merge(taught, how="cross").query("session_taught <= session")
    kept = np.exp(-arm.forgetting * (rows["session"] - rows["session_taught"]).to_numpy())
    chance = draws.random((2, len(rows)))
    base = np.full(len(rows), 2.5)
    nll = base - np.where(chance[0] < arm.recognition * (0.9 + 0.1 * kept), 0.5, -0.5)
    return rows.assign(
        arm=name,
        seed=seed,
        base_replica=1,
        nll_base=base,
        nll=nll,
        recalled=chance[1] < arm.recall * kept,
        nll_before=base,
        recalled_before=False,
    )


def sessions_of(name: str, arm: SyntheticArm, seed: int, design: Design) -> pd.DataFrame:
    """All rows of sessions.parquet of one seed."""
    sessions = np.arange(1, design.checkpoints[-1] + 1)
    constant: dict[str, Any] = dict.fromkeys(SESSIONS.names, 1) | dict.fromkeys(
        ("seconds_train", "seconds_score"), arm.seconds
    )
    recipe = record_of(name, arm, [seed], design).recipe
    steps = {phase: said.steps or 12 for phase, said in recipe.active.items()} or {"none": 0}
    if arm.method in BY_METHOD:
        steps = {arm.method: 5}
    constant |= dict.fromkeys(EDIT_FAILURES, 0 if arm.method in BY_METHOD else None)
    frames = [
        pd.DataFrame({**constant, "arm": name, "seed": seed, "session": sessions, "phase": phase, "steps": taken})
        for phase, taken in steps.items()
    ]
    return pd.concat(frames)
