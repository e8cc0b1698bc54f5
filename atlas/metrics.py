"""The registry of metrics: what each is, how a fact is scored, and what its figures may be compared with.

Tables, charts, page, terminal and docs read metrics here and nowhere else. A new metric of single facts is a function
of facts.parquet and an entry, here or in a plugin. Figures may be subtracted from each other, and shown on one axis,
only where their contract is the same; tables that hold several metrics carry it in the column ``contract``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from atlas.errors import AtlasError
from atlas.plugins.metric import Metric, OfMatrix, metrics_of_plugins

TOLERANCE = 0.1  # nats a character by which the answer of a fact never taught may cost more and still count as kept
ROUNDING = 1e-5  # nats a character: sentences scored in batches of different sizes differ by some 1e-7


_PROBES = (
    "the prompt of a fact (as taught, rephrased, or never taught), or a further question beside a fact taught (of a "
    "neighbour, of what follows from the answer, or for the subject), after the sessions of a checkpoint"
)
_MATRIX = (
    "the prompt of a fact, as taught: those of a session after it; all taught by then after sessions 1 to 8, 10, 12, "
    "14, 16, 20 and on, four an octave, and at checkpoints (after every session, if the study asks for that)"
)
_HERE = "defined here"
_ROME = "Meng et al., Locating and Editing Factual Associations in GPT, 2022 (arXiv 2202.05262), section 3.4"
_GEM = "Lopez-Paz and Ranzato, Gradient Episodic Memory for Continual Learning, 2017"

_MEMORY = (
    Metric(
        "recall",
        _PROBES,
        "1 where greedy decoding gives exactly the answer, or an alias of it, and the line end, else 0; mean over the "
        "prompts of a fact",
        "exact answer",
        "0 to 1",
        "higher is better",
        f"{_HERE}; exact match of open-ended question answering",
        "what the base recalls without an adapter",
        label="Recall",
        meaning="greedy decoding gives exactly the answer",
        score=lambda facts: facts["recalled"].astype(float),
        level=lambda facts: facts["recalled_base"].astype(float),
        exact=True,
        of_matrix=OfMatrix(
            after=lambda rows: rows["recalled"].astype(float),
            before=lambda rows: rows["recalled_before"].astype(float),
            base=lambda rows: rows["recalled_base"].astype(float),
        ),
    ),
    Metric(
        "answered",
        _PROBES,
        "1 where greedy decoding gives the answer, or an alias of it, first, whatever comes behind, else 0; mean over "
        "the prompts of a fact",
        "answer first",
        "0 to 1",
        "higher is better",
        f"{_HERE}; what a model knows that was never taught to end a line behind an answer. Of what a base knew and "
        f"was not taught, facts or neighbours, it is locality. {_ROME}, asks which of two answers is likelier instead",
        "what the base answers without an adapter",
        label="Answered",
        score=lambda facts: facts["answered"].astype(float),
        in_every_study=False,
    ),
    Metric(
        "association",
        "the prompt of a fact, followed by the answer and by every other answer that the seed was taught up to then in "
        "the same template (alternatives); an alias of the answer is none. A fact never taught is asked alike: its "
        "answer stands against those that were taught. Further questions have no alternatives, so none is asked",
        "1 where the answer with its line end is likelier than every alternative with its own, else 0; mean over the "
        "prompts of a fact. Facts without an alternative are left out and counted",
        "answer against taught answers",
        "0 to 1",
        "higher is better",
        f"{_HERE}; multiple choice by likelihood, among what was taught: knowing which answers were taught is no help",
        "mean of 1 / (1 + alternatives). What is missing to 1 on facts never taught is familiarity: how often a taught "
        "answer comes first, whatever is asked",
        label="Association",
        meaning="the answer is likelier than all others taught in its template",
        # null, that is not a number, where there is no alternative
        score=lambda facts: facts["associated"].map({True: 1.0, False: 0.0}).astype(float),
        level=lambda facts: 1 / (1 + facts["alternatives"].where(facts["alternatives"] > 0)),
        nearest="recall",
    ),
    Metric(
        "recognition",
        "the whole sentence of a fact, answer included",
        "1 where its loss per character is below that under the base without adapter, else 0",
        "sentence against base",
        "0 to 1",
        "higher is better",
        "the essay's retention, as far as it can be inferred",
        "0 for an adapter that is zero; for a trained one its recognition of facts never taught",
        label="Recognition",
        meaning="the sentence is likelier than under the base",
        score=lambda facts: facts["recognised"].astype(float),
        exact=True,
        of_matrix=OfMatrix(
            after=lambda rows: (rows["nll"] < rows["nll_base"] - ROUNDING).astype(float),
            before=lambda rows: (rows["nll_before"] < rows["nll_base"] - ROUNDING).astype(float),
        ),
        by_kind=False,
    ),
    Metric(
        "recognition_net",
        "as recognition",
        "recognition less that of facts never taught, of the same seed, checkpoint and domain; those are always asked "
        "as they would have been taught, so that of rephrased prompts holds the effect of the paraphrase, too",
        "sentence against base, net of placebo",
        "-1 to 1",
        "higher is better",
        _HERE,
        "0",
        label="Recognition, net of placebo",
        nearest="recognition",
        net_of="recognition",
    ),
)
_EDITING = (
    Metric(
        "efficacy",
        "the prompt of a fact, as taught, once so many facts have been",
        "recall",
        "exact answer",
        "0 to 1",
        "higher is better",
        f"{_ROME}: theirs asks whether the new answer is likelier than the old one, which invented facts lack",
        "what the base recalls without an adapter",
    ),
    Metric(
        "paraphrase",
        "the rephrased prompts of a fact, once so many facts have been taught",
        "recall; mean over the prompts of a fact",
        "exact answer",
        "0 to 1",
        "higher is better",
        _ROME,
        "what the base recalls without an adapter",
    ),
    Metric(
        "specificity",
        "the prompt of a fact that is never taught, of the same templates as those that are",
        f"1 where its answer costs at most {TOLERANCE} nats a character more than under the base, else 0",
        "placebo answer against base",
        "0 to 1",
        "higher is better",
        f"{_ROME}: theirs asks whether a neighbour's answer is still likelier than the new one",
        "1 for a model that is left alone",
    ),
    Metric(
        "edit_score",
        "all three of the above",
        "harmonic mean of efficacy, paraphrase and specificity, seed by seed",
        "harmonic mean",
        "0 to 1",
        "higher is better",
        f"{_ROME}, S",
    ),
    Metric(
        "rise",
        "the validation text of the base, after the sessions of a checkpoint",
        "loss per character with the adapter less that without, in nats",
        "loss of the base",
        "no bounds",
        "lower is better",
        f"{_HERE}; the price of teaching",
        "0",
    ),
    Metric(
        "update_size",
        "the matrices that are adapted, trained or edited, all together",
        "length of what was added in lengths of the base's matrices, Frobenius norms",
        "weights: update",
        "from 0",
        "lower is better",
        "Gupta et al., Rebuilding ROME, 2024 (arXiv 2403.07175)",
        "0",
    ),
    Metric(
        "norm_growth",
        "the same matrices",
        "their Frobenius norm over the base's, less 1",
        "weights: growth",
        "from -1",
        "neither is better",
        "Gupta et al., Rebuilding ROME, 2024 (arXiv 2403.07175)",
        "0",
    ),
    Metric(
        "without_effect",
        "the prompt of a fact as taught, just before and just after an editor wrote it",
        f"share of edits behind which the answer is not recalled, nor likelier by more than {TOLERANCE} nats a token",
        "edits: without effect",
        "0 to 1",
        "lower is better",
        _HERE,
    ),
    Metric(
        "worsened",
        "the same",
        f"share of edits behind which the answer is less likely by more than {TOLERANCE} nats a token",
        "edits: worse",
        "0 to 1",
        "lower is better",
        _HERE,
    ),
    Metric(
        "unwritten",
        "nothing: the weights",
        "share of edits that gave no finite numbers, so that they were left out",
        "edits: left out",
        "0 to 1",
        "lower is better",
        _HERE,
    ),
    Metric(
        "edit_seconds",
        "nothing: the clock of teaching, without scoring",
        "core-seconds of teaching over the number of facts taught, all seeds together; of an edit of all facts at once "
        "that edit's",
        "core-seconds a fact",
        "from 0",
        "lower is better",
        _HERE,
    ),
)
_CONTINUAL = (
    Metric(
        "average",
        _MATRIX,
        "mean over all facts of the score after the last session",
        "matrix: share",
        "0 to 1",
        "higher is better",
        _GEM,
    ),
    Metric(
        "retention",
        _MATRIX,
        "mean over facts of the score at the ages of a range; age is the sessions since a fact was taught",
        "matrix: share",
        "0 to 1",
        "higher is better",
        "the forgetting curve (Ebbinghaus, Memory, 1885)",
    ),
    Metric(
        "backward_transfer",
        _MATRIX,
        "mean over facts of all sessions but the last: score after the last session less score when just taught",
        "matrix: change since taught",
        "-1 to 1",
        "higher is better",
        _GEM,
    ),
    Metric(
        "forgetting",
        _MATRIX,
        "mean over all sessions but the last: best score of what the session taught, measured at any time before the "
        "last session, less its score after the last",
        "matrix: loss since best",
        "-1 to 1",
        "lower is better",
        "Chaudhry et al., Riemannian Walk for Incremental Learning, 2018",
    ),
    Metric(
        "forward_transfer",
        "the prompt of a fact just before it is taught, from the second session on",
        "score less that of the base without adapter",
        "matrix: gain before taught",
        "-1 to 1",
        "higher is better",
        _GEM,
        "0",
    ),
    Metric(
        "half_life",
        _MATRIX,
        "sessions until retention by age, made to fall by isotonic regression, is half of what it is at age 0; "
        "censored where the run ends before",
        "matrix: sessions",
        "from 1 session",
        "higher is better",
        _HERE,
    ),
)

try:
    _PLUGGED = tuple(metrics_of_plugins({one.name for one in (*_MEMORY, *_EDITING, *_CONTINUAL)}))
except AtlasError as error:  # while a module is imported, so before any command could say it
    sys.exit(f"atlas: error: {error}")
REGISTRY: Mapping[str, Metric] = {one.name: one for one in (*_MEMORY, *_PLUGGED, *_EDITING, *_CONTINUAL)}
"""All metrics by name, in the order of the documentation; those of plugins behind those of single facts."""
OF_FACTS = tuple(name for name, one in REGISTRY.items() if one.score and one.in_every_study)
"""Metrics of single facts that every study has, in the order in which tables and charts show them."""
BY_KIND = tuple(name for name, one in REGISTRY.items() if one.score and one.by_kind)
"""Metrics of single facts where facts that the base knew stand apart."""
OF_MATRIX = tuple(name for name, one in REGISTRY.items() if one.of_matrix)
"""Metrics of the retention matrix."""
OF_EDITING = tuple(one.name for one in _EDITING)
"""Metrics of the table of baselines."""
NET_OF = {one.net_of: name for name, one in REGISTRY.items() if one.net_of}
"""Metric to the one that is it less the score of facts never taught, of the same seed, checkpoint and domain."""
CHOICES = (*OF_FACTS, *NET_OF.values())
"""Metrics that people choose among: on the page, in the terminal, for the precision of a study."""


def metric(name: str) -> Metric:
    """The declaration of a metric; AtlasError where there is none."""
    if name not in REGISTRY:
        raise AtlasError(f"metric {name!r} is not declared; there are {', '.join(REGISTRY)}")
    return REGISTRY[name]


def contract(name: str) -> str:
    """The contract of a metric by its name; AtlasError where it is not declared."""
    return metric(name).contract


def insist_comparable(one: str, other: str) -> None:
    """Raise AtlasError where figures of two metrics must not be subtracted or shown on one axis."""
    if contract(one) != contract(other):
        raise AtlasError(
            f"{one} ({contract(one)}) and {other} ({contract(other)}) are not comparable: compare figures of one "
            "contract, see docs/metrics.md"
        )


def document() -> str:
    """docs/metrics.md."""
    text = (
        "# Metrics\n\n"
        "Made by `atlas metrics --out docs/metrics.md` from `atlas/metrics.py`. Figures are comparable where "
        "their contract is the same, and only there; tables with several metrics carry it in the column `contract`.\n"
    )
    sections = [
        f"\n## `{one.name}`\n\n"
        f"- **Asked**: {one.protocol}\n"
        f"- **Score**: {one.scorer}\n"
        f"- **Contract**: {one.contract}\n"
        f"- **Range**: {one.range}; {one.direction}\n"
        f"- **Chance**: {one.chance}\n"
        f"- **Source**: {one.source}\n"
        for one in REGISTRY.values()
    ]
    return text + "".join(sections)
