"""What the plan of a study can decide, and how many seeds its interval needs, judged from the runs at hand.

The half width of an interval over n seeds is t(n - 1) s / sqrt(n), where s is the standard deviation over seeds of the
paired differences; n follows from s. As s itself comes from few seeds, the number is given for both ends of its 95%
interval, too (chi-square).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from atlas.phrases import plural
from atlas.study.config import Interval, Study
from atlas.tables.contrasts import Cell, Paired
from atlas.tables.decidable import SEEDS_TO_DECIDE, more_seeds, planned, undecidable, unused_bases, written
from atlas.tables.inference import MOST_SEEDS, seeds_for, spread_interval
from atlas.tables.intervals import Estimate
from atlas.tables.level import LEVEL, attainable
from atlas.tables.runs import read
from atlas.ttt.run_files import read_record


@dataclass(frozen=True)
class Seeds:
    """Seeds that an interval needs: from the spread as estimated, and from the ends of that of the spread."""

    number: int
    fewest: int
    most: int


def advice(study: Study, cores: int) -> str:
    """The advice in words: what the seeds can decide, on which bases, then what the interval takes, as far as runs
    tell."""
    return "\n".join([*_decides(study), *_bases(study), *_interval(study, cores)])


def _decides(study: Study) -> list[str]:
    if not planned(study):
        return ["contrasts: none, so there is nothing to decide"]
    seeds = len(study.all_seeds)
    return [
        undecidable(study)
        or f"{seeds} seeds can decide {plural(planned(study), 'planned comparison')}: p can fall to "
        f"{attainable(seeds):.3g} in a family of any size"
    ]


def _bases(study: Study) -> list[str]:
    dealt = [
        f"base {replica}: seeds {', '.join(block for block, base in study.replica_of.items() if base == replica)}"
        for replica in study.replicas
    ]
    return [line for line in ("; ".join(dealt), unused_bases(study)) if line]


def _interval(study: Study, cores: int) -> list[str]:
    wanted = study.interval
    if wanted is None:
        return ["interval: null; say how narrow an interval should be, such as {contrast: [qv, ffn], points: 2}"]
    diff = difference(study, wanted)
    if diff is None:
        return [
            f"{study.results}/ttt: fewer than two seeds of {' and '.join(wanted.contrast)} are finished, so how many "
            "the interval needs cannot be judged yet; run `snakemake ttt` first"
        ]
    needed = seeds_needed(diff, wanted.points / 100)
    sessions, half = _cell(study, wanted).sessions, (diff.ci_high - diff.ci_low) / 2
    low, high = spread_interval(diff.spread, diff.n_seeds)
    return [
        f"{' - '.join(wanted.contrast)}, {wanted.metric} of taught facts after {plural(sessions, 'session')}",
        f"at hand: {diff.n_seeds} seeds; difference {_points(diff.value)}, 95% interval {_points(diff.ci_low)} to "
        f"{_points(diff.ci_high)} points: {_points(half, sign=False)} to either side",
        f"wanted: {wanted.points:g} points to either side",
        f"needed: {_seeds(needed.number)}; between {needed.fewest:,} and {_seeds(needed.most)}, because the standard "
        f"deviation over seeds, {_points(diff.spread, sign=False)} points, is itself known only to lie between "
        f"{_points(low, sign=False)} and {_points(high, sign=False)}",
        f"for a verdict: at least {_seeds(SEEDS_TO_DECIDE)}; with fewer p is never below {LEVEL}",
        *_next(study, max(needed.number, SEEDS_TO_DECIDE), cores),
    ]


def _cell(study: Study, wanted: Interval) -> Cell:
    return Cell(wanted.sessions or study.sessions, "taught", wanted.metric)


def difference(study: Study, wanted: Interval) -> Estimate | None:
    """The contrast from the seeds that both of its arms have finished; None where those are fewer than two."""
    folders = [Path(study.results, "ttt", arm, block) for block in finished(study, wanted) for arm in wanted.contrast]
    found = Paired.of(read(folders)).compare(*wanted.contrast) if folders else {}
    comparison = found.get(_cell(study, wanted))
    return comparison.diff if comparison and comparison.diff.n_seeds > 1 else None


def finished(study: Study, wanted: Interval) -> list[str]:
    """Blocks of the study that both arms of the contrast have finished."""
    arms = [Path(study.results, "ttt", arm) for arm in wanted.contrast]
    return [block for block in study.blocks if all((arm / block / "run.json").is_file() for arm in arms)]


def seeds_needed(diff: Estimate, half_width: float) -> Seeds:
    """Seeds for an interval of at most ``half_width`` to either side."""
    low, high = spread_interval(diff.spread, diff.n_seeds)
    return Seeds(*(seeds_for(half_width, spread) for spread in (diff.spread, low, high)))


def seconds_a_seed(study: Study) -> tuple[float, list[str]]:
    """Seconds that one more seed takes on one core, over all arms, ablations and arms of the map, and those without a
    finished run, which count as the mean of the others."""
    measured, names = {}, [*study.arms, *study.ablations, *study.mapped]
    for arm in names:
        paths = [Path(study.results, "ttt", arm, block, "run.json") for block in study.blocks]
        records = [read_record(path) for path in paths if path.is_file()]
        if records:
            measured[arm] = sum(record.seconds for record in records) / sum(len(record.seeds) for record in records)
    missing = [arm for arm in names if arm not in measured]
    total = sum(measured.values())
    return total + len(missing) * total / len(measured), missing


def _next(study: Study, number: int, cores: int) -> list[str]:
    new = number - len(study.all_seeds)
    if new <= 0:
        return [f"the study has {_seeds(len(study.all_seeds))}, which is enough: nothing to add"]
    seconds, missing = seconds_a_seed(study)
    arms, ablations = plural(len(study.arms) + len(study.mapped), "arm"), plural(len(study.ablations), "ablation")
    lines = [
        f"cost: {_seeds(new)} more, for {arms} and {ablations}: {_duration(new * seconds)} of one core, so at "
        f"best {_duration(new * seconds / cores)} on {cores}",
        f"write: seeds: {written(more_seeds(study, number))}",
        "then run `snakemake`: only the new seeds are run",
    ]
    if missing:
        lines.insert(1, f"(no finished run yet of {', '.join(missing)}: taken to be as long as the others)")
    return lines


def _seeds(number: int) -> str:
    return plural(number, "seed") + (" or more" if number >= MOST_SEEDS else "")


def _points(share: float, sign: bool = True) -> str:
    return f"{100 * share:+.1f}" if sign else f"{100 * share:.1f}"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return (
        f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min" if minutes else "under a minute"
    )
