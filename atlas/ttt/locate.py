"""Locate the facts that a run taught: recall without each part of its adapters, and with only that part.

Parts are halves (attention, feed-forward), layers, roles, and slots (a role in a layer). Of a slot the update is halved
and turned at random, too, which tells whether its size matters or its direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from atlas.base.checkpoint import load_certified, read_manifest
from atlas.draws import rng
from atlas.errors import AtlasError
from atlas.guard.formats import read_tensors
from atlas.guard.tensors import fingerprint
from atlas.pool.facts import PLACEBO, TAUGHT, Fact, read_pool
from atlas.study.jobs import LocateSpec, RunSpec
from atlas.ttt.alternatives import Taught
from atlas.ttt.engine.lanes import LaneModel, LinearSite, chosen, compute_in
from atlas.ttt.engine.lines import Line
from atlas.ttt.engine.lora import Adapters
from atlas.ttt.frozen import reinitialise
from atlas.ttt.inputs import PACKAGES, Inputs, computed_on, validation_tokens
from atlas.ttt.locate_changes import Change, changed, changes_of, groups_of, rotated, units_of
from atlas.ttt.locate_columns import KNOCKOUTS, SLOTS
from atlas.ttt.locate_passes import TOKENS, Answers, Question, Variant, ask, sheets_of
from atlas.ttt.probes import Prober
from atlas.ttt.run_files import RunRecord, read_record
from atlas.workflow import files, progress
from atlas.workflow.allocator import keep_freed_memory
from atlas.workflow.steps import add_certified, add_spec, environment, parser, run_step

AGAIN = "make the run again, and then locate"


def main(arguments: Sequence[str] | None = None) -> None:
    """Locate one run by the command line; see ``python -m atlas.ttt.locate --help``."""
    options = parser(__doc__)
    add_spec(options, LocateSpec)
    options.add_argument("--pool", type=Path, required=True, help="pool.parquet, as the run was taught it")
    options.add_argument("--streams", type=Path, nargs="+", required=True, help="a stream per seed, in their order")
    options.add_argument("--corpus", type=Path, required=True, help="corpus.txt, for the loss of the base")
    add_certified(options)
    options.add_argument("--run", type=Path, required=True, help="run.json; adapters.safetensors is beside it")
    options.add_argument("--out", type=Path, required=True, help="folder for knockouts.parquet and slots.parquet")
    args = options.parse_args(arguments)
    spec: LocateSpec = args.spec
    run, record, weights = spec.run, read_record(args.run), args.run.with_name("adapters.safetensors")
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    device, manifest = computed_on(run.device, run.precision), read_manifest(args.manifest)
    _same_run(args.run, record, run)
    model = load_certified(args.checkpoint, args.manifest, args.certificate)
    reinitialise(model, run.reinit, run.base_seed, run.seeds)
    if (found := fingerprint(model.state_dict())) != record.frozen.at_start:
        expected = f"{record.frozen.at_start}, which {args.run} was taught on"
        raise AtlasError(f"{args.checkpoint}: fingerprint {found}, expected {expected}; give that base")
    size = model.config.context
    text = validation_tokens(args.corpus, model, manifest.config.validation, spec.locate.windows * size)
    windows = [Line(text[at : at + size + 1], answer=1) for at in range(0, len(text) - size, size)]
    facts = read_pool(args.pool)
    inputs = Inputs(
        args.pool, args.streams, args.corpus, args.checkpoint, args.manifest, args.certificate, args.threads
    )
    streams = inputs.lanes(run, facts)
    prober = Prober(str(args.pool), text=model.text, context=model.config.context)
    sites = [site for site in chosen(model.to(device), run.targets) if run.ranks[site.layer]]
    lines = [[prober.phrasing(fact, 0) for fact in taught] for taught in streams]
    energies = [gradient_energies(LaneModel(model), sites, some, device) for some in lines]
    compute_in(model, run.precision)
    adapters = Adapters.attach(model, run.targets, run.ranks, run.alpha)
    theta = read_theta(weights, adapters, len(run.seeds)).to(device)
    groups = groups_of(model.config.layers, spec.locate.groups)
    changes = [*changes_of(units_of(sites, groups))]
    placebo = [fact for fact in facts if fact.role == PLACEBO]
    knockouts, slots = [], []
    label = f"locate {run.arm} seeds {args.run.parent.name}"
    with progress.tracker(label, len(streams)) as tracker:
        for lane, seed in enumerate(run.seeds):
            about = {"arm": run.arm, "seed": seed, "base_replica": run.base_replica, "sessions": run.sessions}
            asked = [*probes(spec, prober, streams[lane], placebo), *(Asked(Question(line)) for line in windows)]
            variants, places = variants_of(adapters, theta[lane : lane + 1], changes, (run.base_seed, seed))
            answers = ask(adapters, variants, [one.question for one in asked], device)
            knockouts += [about | row for row in knockout_rows(changes, places, asked, answers)]
            slots += [about | row for row in slot_rows(adapters, theta[lane : lane + 1], changes, energies[lane])]
            tracker.advance()
    provenance = {
        "step": "atlas.ttt.locate",
        **spec.locate.model_dump(),
        "val_tokens": len(windows) * size,
        "base_fingerprint": manifest.fingerprint,
        "adapters_sha256": files.sha256(weights),
        **environment(*PACKAGES),
    }
    with files.together(args.out / "slots.parquet") as stage:
        for name, rows, schema in (("knockouts", knockouts, KNOCKOUTS), ("slots", slots, SLOTS)):
            files.write_parquet(stage / f"{name}.parquet", pa.Table.from_pylist(rows, schema=schema), provenance)
    progress.say(f"{label}: done, see {args.out}/")


def _same_run(path: Path, record: RunRecord, spec: RunSpec) -> None:
    """Raises AtlasError where the run is another one than the spec says, or none that trained adapters."""
    if record.method != "lora":
        raise AtlasError(f"{path}: method {record.method}, expected lora; only adapters can be taken apart")
    for key in ("arm", "seeds", "base_replica", "targets", "ranks", "reinit"):
        found, expected = (getattr(one, key) for one in (record, spec))
        if found != expected:
            raise AtlasError(f"{path}: {key} {found}, but --spec says {expected}; {AGAIN}")


def read_theta(path: Path, adapters: Adapters, lanes: int) -> Tensor:
    """What a run's adapters are, float32 (lanes, parameters). AtlasError where they are not of its lanes and sites."""
    tensors = read_tensors(path)
    if odd := sorted(tensors.keys() ^ {*adapters.names}):
        how = "no such tensor" if odd[0] in adapters.names else "the arm has no adapter there"
        raise AtlasError(f"{path}: {odd[0]}: {how}; {AGAIN}")
    for slot in adapters.slots:
        for part, shape in slot.module.shapes.items():
            name = f"{slot.site.path}.{part}"
            if (found := [*tensors[name].shape]) != [lanes, *shape]:
                raise AtlasError(f"{path}: {name}: shape {found}, expected {[lanes, *shape]}; {AGAIN}")
    return adapters.joined(tensors)


@dataclass(frozen=True)
class Asked:
    """What is asked of every change: about a taught or a placebo fact, or what a window of the base's text costs."""

    question: Question
    probe: str | None = None
    session: int | None = None


def probes(spec: LocateSpec, prober: Prober, taught: Sequence[Fact], placebo: Sequence[Fact]) -> list[Asked]:
    """What one seed's changes are asked about facts.

    Args:
        taught: all that the seed was taught, in that order; each may be an alternative.
        placebo: all there are.
    """
    known = Taught(taught, prober.text, prober.origin, prober.context)
    asked = evenly(len(taught), spec.locate.facts)
    others = {at: some for at in asked if len(some := known.besides(taught[at]))}
    judged = {[*others][at] for at in evenly(len(others), spec.locate.judged)}
    found = []
    for at in asked:
        question = Question(prober.phrasing(taught[at], 0), others[at] if at in judged else None)
        found.append(Asked(question, TAUGHT, at // spec.run.facts_per_session + 1))
    untaught = [placebo[at] for at in evenly(len(placebo), spec.locate.placebo)]
    return found + [Asked(Question(prober.phrasing(fact, 0)), PLACEBO) for fact in untaught]


def evenly(count: int, most: int | None) -> list[int]:
    """At most so many of ``count`` places, from the first to the last, as evenly as can be; None: all."""
    places: list[int] = np.linspace(0, count - 1, min(count, most or count)).round().astype(int).tolist()
    return places


def variants_of(
    adapters: Adapters, theta: Tensor, changes: Sequence[Change], key: tuple[int, int]
) -> tuple[list[Variant], list[int]]:
    """What changes leave of one lane's adapters, float32 (1, parameters), those that leave the same once.

    Args:
        changes: first none, then the one that leaves the base.
        key: of the draws that turn updates: the base's seed and the lane's.

    Returns:
        The variants, and which of them each change is.
    """
    named = adapters.named(theta)
    whole = [(named[f"{slot.site.path}.lora_A"][0], named[f"{slot.site.path}.lora_B"][0]) for slot in adapters.slots]
    sites = [slot.site for slot in adapters.slots]
    turned = [
        rotated(matrices, rng(*key, "rotation", site.layer, site.role))
        for matrices, site in zip(whole, sites, strict=True)
    ]
    variants: list[Variant] = []
    places: list[int] = []
    known: dict[bytes, int] = {}
    for change in changes:
        left = [part.flatten() for pair in changed(whole, turned, change) for part in pair]
        made = torch.cat(left)
        if (content := made.cpu().numpy().tobytes()) not in known:
            known[content] = len(variants)
            parent = places[change.adds] if len(places) > 1 else None
            places_changed = frozenset((sites[at].layer, sites[at].role) for at in change.unit.sites)
            variants.append(Variant(made, parent, places_changed))
        places.append(known[content])
    return variants, places


def knockout_rows(
    changes: Sequence[Change], places: Sequence[int], asked: Sequence[Asked], answers: Answers
) -> list[dict[str, Any]]:
    """The rows of one seed, but for what names the run."""
    kinds = {
        key: [at for at, _ in some]
        for key, some in groupby(enumerate(asked), lambda one: (one[1].probe, one[1].session))
    }
    windows = kinds.pop((None, None))
    losses = answers.nll[:, windows].mean(axis=1, dtype=np.float64)  # windows are equally long
    rows = []
    for change, place in zip(changes, places, strict=True):
        first, last = change.unit.layers or (None, None)
        for (probe, session), some in kinds.items():
            judged = [at for at in some if asked[at].question.alternatives is not None]
            rows.append(
                {
                    "change": change.kind,
                    "unit": change.unit.kind,
                    "first_layer": first,
                    "last_layer": last,
                    "role": change.unit.role,
                    "half": change.unit.half,
                    "probe": probe,
                    "session_taught": session,
                    "facts": len(some),
                    "recalled": int(answers.recalled[place, some].sum()),
                    "judged": len(judged),
                    "associated": int(answers.associated[place, judged].sum()),
                    "base_loss_rise": losses[place] - losses[places[1]],
                }
            )
    return rows


def slot_rows(
    adapters: Adapters, theta: Tensor, changes: Sequence[Change], energies: Sequence[float]
) -> list[dict[str, Any]]:
    """The rows of one seed, but for what names the run.

    Args:
        theta: of its lane, float32 (1, parameters).
        energies: of the gradient, site by site.
    """
    norms = [float(update.double().norm()) for update in adapters.updates(theta)]
    sizes = [sum(a * b for a, b in slot.module.shapes.values()) for slot in adapters.slots]
    rows = []
    for change in changes:
        if change.kind == "without" and change.unit.kind == "slot":
            first, last = change.unit.layers or (None, None)
            inside = sorted(change.unit.sites)
            rows.append(
                {
                    "first_layer": first,
                    "last_layer": last,
                    "role": change.unit.role,
                    "parameters": sum(sizes[at] for at in inside),
                    "norm": float(np.linalg.norm([norms[at] for at in inside])),
                    "gradient_energy": sum(energies[at] for at in inside),
                }
            )
    return rows


def gradient_energies(
    model: LaneModel, sites: Sequence[LinearSite], lines: Sequence[Line], device: torch.device
) -> list[float]:
    """Squared norm, by the matrix of each site, of the gradient of the mean over lines of the nats per answer token."""
    weights = [site.linear.weight.requires_grad_() for site in sites]
    for sheet in sheets_of([Question(line) for line in lines], TOKENS[device.type][0]):
        _, answers = sheet.batches(1, device)
        nll, _ = model.nll(answers)
        torch.autograd.backward((nll / answers.spread(answers.lengths) / len(lines)).sum())
    energies = [float(weight.grad.double().square().sum()) for weight in weights if weight.grad is not None]
    for weight in weights:
        weight.grad = None
        weight.requires_grad_(False)
    return energies


if __name__ == "__main__":
    run_step(main)
