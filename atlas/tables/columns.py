"""Columns of the tables, as their readers check them: every column is declared once, and has one type wherever it is.

Shares, rates and intervals are fractions of 1.
"""

from __future__ import annotations

import pyarrow as pa

from atlas.metrics import NET_OF, OF_FACTS
from atlas.search.halving import TRIALS

TEXT, FLAG, NUMBER, COUNT, LARGE = pa.string(), pa.bool_(), pa.float64(), pa.int32(), pa.int64()
SEARCHED = tuple(NET_OF.get(name, name) for name in OF_FACTS if name in TRIALS.names)
"""Metrics of facts that the search for recipes measures, net of placebo where there is such a metric."""

COLUMNS = {
    # of an arm
    "arm": TEXT,
    "method": TEXT,  # lora, finetune, or an editor: rome, r_rome, memit, alphaedit; or a plugin's
    "adapts": FLAG,  # adapters are trained, LoRA's or a plugin's
    "targets": TEXT,  # "q,v"
    "ranks": TEXT,  # "32" where all layers agree, else layer by layer: "4,32,32,4"; full: whole matrices
    "reinit": TEXT,  # roles of the base left at a fresh initialisation; empty for most arms
    "recipe": TEXT,  # its preset; of the search, the whole recipe as JSON
    "trainable_params": LARGE,  # of adapters, or of the matrices that change
    "base_params": LARGE,
    "share": NUMBER,  # trainable / (base + trainable); where the base's own change, trainable / base; see VARIANCE, too
    "session_facts": NUMBER,  # facts in the loss of a step, a session on average, each as often as it was
    "session_tokens": NUMBER,  # that the loss was taken over, likewise
    "session_seconds": NUMBER,  # core-seconds of a session of a seed: training and the scoring that recipes choose by
    "key_tokens": LARGE,  # of text whose keys an editor leaves alone; null of the others
    "key_source": TEXT,  # of this text: corpus, or sampled from the base
    "tuning": TEXT,  # how the learning rate was chosen, or an editor's settings
    "reference": TEXT,  # the arm that an ablation varies; itself for a reference
    "variant": TEXT,  # what the recipe of an ablation is called; the preset for a reference
    "place": TEXT,  # the arm of the same place and recipe that was taught the fewest paraphrases
    "paraphrases": COUNT,  # m, paraphrases that were taught beside each sentence
    "at_once": FLAG,  # all facts in one edit
    # of a place of the map
    "role": TEXT,  # null: in all roles
    "layer": COUNT,  # from 0; null: all
    "budget": LARGE,  # parameters asked for
    "most_params": LARGE,  # that a place can have
    "applicable": FLAG,  # a rank that its matrices can have comes near the budget; else there is no run
    # of a cell
    "sessions": COUNT,  # at a checkpoint
    "session": COUNT,
    "session_taught": COUNT,  # up to session; a fact's age is session - session_taught
    "probe": TEXT,  # taught, rephrase, placebo, neighbour, hop, reversed
    "metric": TEXT,  # see docs/metrics.md
    "domain": TEXT,  # a domain, or "all"
    "template": TEXT,  # facts of one ask for the same kind of answer; or "all"
    "contract": TEXT,  # figures of one contract are comparable, see docs/metrics.md
    "measure": TEXT,  # average, backward_transfer, forgetting, forward_transfer, retention, half_life; see LOCATE, too
    "age_from": COUNT,  # sessions since a fact was taught, for retention; null for the others
    "age_to": COUNT,  # null for "and more", too
    "unit": TEXT,  # of measures: share, sessions (the half-life); see CLAIMS, too
    "kind": TEXT,  # of fact: see KNOWLEDGE; of claim: the rule, see CLAIMS
    "seed": COUNT,  # null in the row over all seeds
    # what figures rest on
    "n_seeds": COUNT,
    "bases": COUNT,  # that the seeds were taught on: see `base.replicas`
    "draws": COUNT,  # of the re-initialisation, one a block of seeds and its base
    "base_replica": COUNT,  # which base, from 1
    "n_facts": COUNT,  # facts of a seed (the mean, rounded, where seeds differ)
    "n_tests": LARGE,  # facts of all seeds together
    "left_out": LARGE,  # further facts of all seeds that were asked; association leaves out what has no alternative
    "n": LARGE,  # the same
    "edits": COUNT,  # facts taught by then, of a seed
    # figures
    "value": NUMBER,  # mean over seeds of each seed's mean
    "ci_low": NUMBER,  # 95% interval; null where one seed cannot give any
    "ci_high": NUMBER,
    "few_seeds": FLAG,  # few seeds, or none, carry the distance from 0 or 1: the interval speaks of seeds like these
    "chance": NUMBER,  # what an adapter that knows nothing scores
    "alternatives": NUMBER,  # of a fact, the mean: other answers taught so far in its template
    "spelling": NUMBER,  # what is right by spelling alone, see atlas.tables.association
    "familiarity": NUMBER,  # how often a taught answer comes first on prompts never taught; null elsewhere
    "censored": FLAG,  # retention did not fall to half within the run
    "facts_per_parameter": NUMBER,
    "per_thousand": NUMBER,  # recall for each thousand parameters; null of other metrics
    "qualifies": FLAG,  # recall of at least 99%
    "core_seconds": NUMBER,  # of a seed: training with what its recipe measures to choose by, not probes
    "characters": LARGE,  # trained, of a seed
    "commit": TEXT,
    "source": TEXT,  # of variance: recipe, place, size, their interactions, seed, error; see LOCATE_SHARES, too
    "levels": TEXT,  # of the factors that the arms cross
    # of knock-outs, see atlas.tables.knockouts
    "change": TEXT,  # intact, without, only, halved, rotated
    "part": TEXT,  # of the adapter: all, half, layer, role, slot
    "first_layer": COUNT,  # from 0; null where the part is in all layers
    "last_layer": COUNT,  # inclusive: the first one, unless layers are grouped
    "half": TEXT,  # attention or feed_forward; null where the part is no half
    "taught_from": COUNT,  # the session that taught the oldest facts of a row; null over all of them
    "taught_to": COUNT,
    "against": TEXT,  # the source that shares are correlated with
    "val_loss_base": NUMBER,  # nats per character
    "val_loss": NUMBER,
    "rise": NUMBER,  # val_loss - val_loss_base
    # comparisons
    "family": TEXT,  # of the study's `contrasts`; p is corrected for a family in one cell
    "arm_a": TEXT,
    "arm_b": TEXT,
    "differs": TEXT,  # what the two arms differ in: "place and size", see atlas.tables.unlike
    "value_a": NUMBER,
    "value_b": NUMBER,
    "diff": NUMBER,  # a minus b: mean over seeds of the paired differences
    "p_value": NUMBER,  # sign-flip test over seeds, two-sided, not corrected
    "p_adjusted": NUMBER,  # corrected for the family: step-down maximum over joint sign flips
    "p_attainable": NUMBER,  # the smallest that either could have been with so many seeds
    "effect": NUMBER,  # in standard deviations over seeds, corrected for few; null where there is none
    "mde": NUMBER,  # smallest difference found with 80% power; null where none could be
    "verdict": TEXT,  # a > b, b > a, unresolved; see CONTROLS and CLAIMS, too
    "reason": TEXT,  # why it is unresolved; else empty
    "finding": TEXT,  # the verdict in words
    "arm_reinit": TEXT,  # the same arm on a base whose roles `reinit` did not load
    "value_reinit": NUMBER,
    "refused_by": TEXT,  # checks that refuse the mis-loaded base without a manifest; empty: accepted
    "refused_by_manifest": TEXT,
    "refused_seeds": TEXT,  # "1,2,3,4"
    # of the search for recipes: means over seeds
    "candidate": TEXT,  # its settings and, of a grid, its learning rate
    "settings": TEXT,  # candidates of the same settings differ in their learning rate alone
    "lr": NUMBER,  # of the recipe's first phase; null of an editor
    "round": COUNT,  # which closing round, from 1; 0 of a rung
    **dict.fromkeys(SEARCHED, NUMBER),
    "recall_rephrase": NUMBER,
    "chosen": FLAG,  # of its arm, the best of those that were tried for the most sessions
    "closed": FLAG,  # both neighbours on its grid of learning rates were tried as long; null without a grid
    "tuned": TEXT,  # of the chosen one, the arm's key `tuned` in a study; else empty
    # of claims
    "claim_id": TEXT,
    "topic": TEXT,
    "label": TEXT,  # short, for charts
    "statement": TEXT,
    "rule": TEXT,  # what the claim is reproduced by, in words; empty where nothing can
    "margin": NUMBER,  # that the measured interval must lie within; null for claims that have none
    "verdict_half": TEXT,  # the verdict at half the margin, and at twice; empty for claims that have none
    "verdict_twice": TEXT,
    "preset": TEXT,  # the recipe that taught the facts; any where the claim is not about facts
    "arms": TEXT,  # of the study, that stand for those that the ledger names: "qv_recall,ffn_recall"
    "essay_value": NUMBER,  # null where the essay prints no figure
    "essay_ci_low": NUMBER,  # 95% interval of its facts, of one seed
    "essay_ci_high": NUMBER,
    "measured": NUMBER,
    "placebo": NUMBER,  # recognition of facts never taught, beside a share read as recognition
    "note": TEXT,
    # of answers
    "fact_id": TEXT,
    "prompt": TEXT,
    "answer": TEXT,
    "aliases": TEXT,  # as right as the answer, with " or " between them
    "decoded": TEXT,  # what greedy decoding gave
}
"""Every column of every table to its type."""

_CELL = ("sessions", "probe", "metric", "domain")
_COUNTS = ("n_seeds", "bases", "n_facts", "n_tests", "left_out")
_INTERVAL = ("value", "ci_low", "ci_high")
_TRAINED = ("arm", "recipe", "targets", "ranks", "trainable_params")


def _table(*names: str) -> pa.Schema:
    return pa.schema([(name, COLUMNS[name]) for name in names])


ARMS = _table(
    *("arm", "method", "adapts", "targets", "ranks", "reinit", "recipe"),
    *("trainable_params", "base_params", "share", "bases"),
    *("session_facts", "session_tokens", "session_seconds", "key_tokens", "key_source", "tuning"),
)
RETENTION = _table(
    *("arm", *_CELL, *_COUNTS, *_INTERVAL, "few_seeds", "chance"),
    *("alternatives", "familiarity"),  # beside association; familiarity of placebo prompts
    "contract",
)
ASSOCIATION = _table(
    *("arm", "sessions", "template", "domain", *_COUNTS, *_INTERVAL, "few_seeds"),
    *("alternatives", "chance", "spelling"),  # over the same facts
)
WRONG_ANSWERS = _table("arm", "sessions", "seed", "fact_id", "prompt", "answer", "aliases", "decoded")
CONTRASTS = _table(
    *("family", "arm_a", "arm_b", "differs", *_CELL, *_COUNTS, "value_a", "value_b"),
    *("diff", "ci_low", "ci_high"),  # the interval is of the difference, for this contrast alone
    "few_seeds",  # of either arm
    *("p_value", "p_adjusted", "p_attainable", "effect", "mde", "verdict", "reason", "contract"),
)
ABLATIONS = _table(*RETENTION.names, "reference", "variant")
CURVE = _table("arm", "session", "metric", "n_seeds", "n_facts", *_INTERVAL)  # over all facts taught so far
MATRIX = _table("arm", "session", "session_taught", "metric", "n", "value")
CONTINUAL = _table(
    *("arm", "metric", "measure", "age_from", "age_to", "unit", "n_seeds"),
    *_INTERVAL,  # of the half-life null where it lies beyond the run
    *("censored", "contract"),
)
CONTROLS = _table(
    *("arm", "sessions", "probe", "metric"),
    *("n_facts", "left_out"),  # each once
    *(*_INTERVAL, "chance"),
    *("verdict", "finding"),  # at chance, above chance, below chance
)
RECIPES = _table(
    *("arm", "candidate", "settings", "lr", "sessions", "round", "n_seeds", "n_facts"),
    *("recall", "ci_low", "ci_high"),
    *(name for name in SEARCHED if name != "recall"),
    *("recall_rephrase", "rise", "core_seconds", "characters", "chosen", "closed", "tuned", "recipe"),
)
SPEEDRUN = _table(
    *(*_TRAINED, "sessions", "n_seeds", "n_facts", "recall", "ci_low", "ci_high"),
    *("qualifies", "core_seconds", "characters", "commit"),
)
CAPACITY = _table(*_TRAINED, "session", "n_seeds", "n_facts", "facts_per_parameter", *_INTERVAL)  # recall of all so far
PARAPHRASES = _table(
    *("arm", "place", "recipe", "paraphrases", "sessions"),
    "probe",  # taught; rephrase: by paraphrases that no arm of the place was taught
    *("metric", "n_seeds", "n_facts", "left_out", *_INTERVAL, "contract"),
)
VARIANCE = _table(
    *("sessions", "probe", "metric", "source"),
    "left_out",
    "share",  # omega squared: of the variance of all arms and seeds
    *("ci_low", "ci_high", "n_seeds", "levels", "contract"),  # the interval is the jackknife's over seeds
)
BASE_LOSS = _table(
    *("arm", "sessions", "n_seeds", "val_loss_base", "val_loss"),
    *("rise", "ci_low", "ci_high"),  # the interval is of the rise
)
MAP = _table(
    "arm",
    "part",  # slot: one role in one layer; role: in all layers; layer: all roles of one
    *("role", "layer", "budget", "most_params", "applicable", "trainable_params", "lr"),
    *("sessions", "probe", "metric"),  # recall of taught and rephrase, association, rise, which has no probe
    *("n_seeds", "n_facts", "left_out", *_INTERVAL, "few_seeds", "chance", "per_thousand", "contract"),
)
_PART = ("change", "part", "first_layer", "last_layer", "role", "half")
LOCATE = _table(
    *("arm", "sessions", *_PART),
    "probe",  # taught, placebo; null for the base's loss
    "metric",  # recall, association, rise
    "measure",  # left: with the change made; lost: what the intact adapter has, less that, paired by seed
    *("n_seeds", "bases", "n_facts", "n_tests", "left_out", *_INTERVAL, "few_seeds", "contract"),
)
LOCATE_BY_AGE = _table(
    *("arm", "sessions", *_PART, "metric"),
    "measure",  # lost, by tenths of the sessions; shift: the oldest third's relative loss less the newest third's
    *("taught_from", "taught_to", "n_seeds", "bases", "n_facts", *_INTERVAL),
    *("p_value", "p_adjusted"),  # of a shift; corrected over the parts of one kind of an arm
    *("verdict", "reason", "contract"),
)
LOCATE_SHARES = _table(
    *("arm", "sessions", "first_layer", "last_layer", "role"),
    "measure",  # share: of the sum over all slots; rank_correlation: of two sources over slots, Spearman's
    "source",  # parameters, norm (squared, of the update), gradient (squared), recall (lost without the slot)
    *("against", "n_seeds", "bases", *_INTERVAL),
)
KNOWLEDGE = _table(
    *("arm", "sessions"),
    "kind",  # unknown; counterfactual: the base says otherwise; known; untouched: known and placebo
    *("probe", "metric", *_COUNTS, *_INTERVAL, "few_seeds", "contract"),
)
KNOWLEDGE_CONTRASTS = _table(*("kind" if name == "domain" else name for name in CONTRASTS.names))
BASELINES = _table(
    *("arm", "method", "at_once", "sessions", "edits"),
    "metric",  # efficacy; at checkpoints the others of the literature, rise, and what it cost
    "n_seeds",
    *_INTERVAL,  # over seeds, of shares over facts, too; of edit_seconds none: seeds of a run share the clock
    "contract",
)
CLAIMS = _table(
    *("claim_id", "topic"),
    "kind",  # the rule: value, order, same, spread, spared, needed, exact, not testable
    *("label", "statement", "rule", "preset", "arms"),
    "metric",  # params for parameter counts, none for what has none
    "unit",  # share, difference, slope (a tenfold of facts), spread; parameters, multiple; none
    *("essay_value", "essay_ci_low", "essay_ci_high", "measured", "ci_low", "ci_high", "placebo", "n_seeds", "bases"),
    *("chance", "familiarity"),  # beside a share of association
    "left_out",  # of the cells that a claim on facts is about
    *("p_value", "p_adjusted"),  # of claims of order and spread; corrected over a topic under one metric
    *("margin", "verdict"),  # reproduced, contradicted, unresolved, not testable
    *("verdict_half", "verdict_twice", "note"),
)
BASELINE_CLAIMS = CLAIMS
CONFOUND = _table(
    *("arm", "arm_reinit", "reinit", "sessions", "probe", "metric", "seed"),
    *("n_seeds", "bases", "draws", "n_facts", "left_out"),
    "value",  # on the certified base; null in the rows of single seeds
    "value_reinit",
    *("diff", "ci_low", "ci_high", "p_value"),  # value_reinit - value, paired
    *("refused_by", "refused_by_manifest"),
    "refused_seeds",  # the block whose weights were verified
)
BASES = _table(
    *("family", "arm_a", "arm_b", "sessions", "probe", "metric", "base_replica", "n_seeds", "n_facts"),
    *("value_a", "value_b", "diff", "ci_low", "ci_high", "contract"),  # over the seeds of one base
)
