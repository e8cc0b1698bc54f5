"""Columns of the tables, as their readers check them. Shares, rates and intervals are fractions of 1."""

from __future__ import annotations

import pyarrow as pa

_INTERVAL = [
    ("value", pa.float64()),  # mean over seeds of each seed's mean
    ("ci_low", pa.float64()),  # 95% interval; null where one seed cannot give any
    ("ci_high", pa.float64()),
]

ARMS = pa.schema(
    [
        ("arm", pa.string()),
        ("method", pa.string()),  # lora, finetune, or an editor
        ("targets", pa.string()),  # "q,v"
        ("ranks", pa.string()),  # "32" where all layers agree, else layer by layer: "4,32,32,4"; full: whole matrices
        ("reinit", pa.string()),  # roles of the base left at a fresh initialisation; empty for most arms
        ("recipe", pa.string()),  # its preset
        ("trainable_params", pa.int64()),  # of adapters, or of the matrices that change
        ("base_params", pa.int64()),
        ("share", pa.float64()),  # trainable / (base + trainable); where the base's own change, trainable / base
    ]
)

RETENTION = pa.schema(
    [
        ("arm", pa.string()),
        ("sessions", pa.int32()),
        ("probe", pa.string()),  # taught, rephrase, placebo
        ("metric", pa.string()),  # recall, ranked, recognition, recognition_net
        ("domain", pa.string()),  # a domain, or "all"
        ("n_seeds", pa.int32()),
        ("n_facts", pa.int32()),  # facts of a seed (the mean, rounded, where seeds differ)
        ("n_tests", pa.int64()),  # facts of all seeds together
        *_INTERVAL,
        ("chance", pa.float64()),  # what an adapter that knows nothing scores
        ("contract", pa.string()),  # figures of one contract are comparable, see docs/metrics.md
    ]
)

CONTRASTS = pa.schema(
    [
        ("family", pa.string()),  # of the study's `contrasts`; Holm's correction goes over a family in one cell
        ("arm_a", pa.string()),
        ("arm_b", pa.string()),
        ("sessions", pa.int32()),
        ("probe", pa.string()),
        ("metric", pa.string()),
        ("domain", pa.string()),
        ("n_seeds", pa.int32()),
        ("n_facts", pa.int32()),
        ("n_tests", pa.int64()),
        ("value_a", pa.float64()),
        ("value_b", pa.float64()),
        ("diff", pa.float64()),  # a minus b: mean over seeds of the paired differences
        ("ci_low", pa.float64()),  # 95% interval of the difference, for this contrast alone
        ("ci_high", pa.float64()),
        ("p_value", pa.float64()),  # sign-flip test over seeds, two-sided
        ("p_adjusted", pa.float64()),  # after Holm's correction
        ("p_attainable", pa.float64()),  # the smallest that p_adjusted could have been at its strictest step
        ("effect", pa.float64()),  # in standard deviations over seeds, corrected for few; null where there is none
        ("mde", pa.float64()),  # smallest difference found with 80% power; null where none could be
        ("verdict", pa.string()),  # a > b, b > a, unresolved
        ("reason", pa.string()),  # why it is unresolved; else empty
        ("contract", pa.string()),
    ]
)

ABLATIONS = pa.schema(
    [
        *RETENTION,
        ("reference", pa.string()),  # the arm that this one varies; itself for a reference
        ("variant", pa.string()),  # what the recipe is called; the preset for a reference
    ]
)

CURVE = pa.schema(
    [
        ("arm", pa.string()),
        ("session", pa.int32()),
        ("metric", pa.string()),  # recall, recognition; over all facts taught so far
        ("n_seeds", pa.int32()),
        ("n_facts", pa.int32()),
        *_INTERVAL,
    ]
)

MATRIX = pa.schema(
    [
        ("arm", pa.string()),
        ("session", pa.int32()),
        ("session_taught", pa.int32()),  # up to session; a fact's age is session - session_taught
        ("metric", pa.string()),
        ("n", pa.int64()),  # facts of all seeds together
        ("value", pa.float64()),
    ]
)

CONTINUAL = pa.schema(
    [
        ("arm", pa.string()),
        ("metric", pa.string()),  # recall, recognition
        ("measure", pa.string()),  # average, backward_transfer, forgetting, forward_transfer, retention, half_life
        ("age_from", pa.int32()),  # sessions since a fact was taught, for retention; null for the others
        ("age_to", pa.int32()),  # null for "and more", too
        ("unit", pa.string()),  # share, sessions (the half-life)
        ("n_seeds", pa.int32()),
        *_INTERVAL,  # of the half-life null where it lies beyond the run
        ("censored", pa.bool_()),  # retention did not fall to half within the run
        ("contract", pa.string()),
    ]
)

CONTROLS = pa.schema(
    [
        ("arm", pa.string()),
        ("sessions", pa.int32()),
        ("probe", pa.string()),
        ("metric", pa.string()),
        ("n_facts", pa.int32()),  # each once
        *_INTERVAL,
        ("chance", pa.float64()),  # 1 / (alternatives + 1); what the base recalls; 0
        ("verdict", pa.string()),  # at chance, above chance, below chance
        ("finding", pa.string()),  # the same in words
    ]
)

RECIPES = pa.schema(
    [
        ("arm", pa.string()),
        ("candidate", pa.string()),
        ("sessions", pa.int32()),
        ("n_seeds", pa.int32()),
        ("recall", pa.float64()),  # means over seeds
        ("recall_low", pa.float64()),  # the lowest and the highest seed's
        ("recall_high", pa.float64()),
        ("ranked", pa.float64()),
        ("recognition_net", pa.float64()),  # less that of facts never taught
        ("recall_rephrase", pa.float64()),
        ("rise", pa.float64()),  # of the loss on the validation text, nats per character
        ("core_seconds", pa.float64()),  # of a seed
        ("characters", pa.int64()),  # trained, of a seed
        ("survived", pa.bool_()),  # tried for more sessions, too, or this was the last rung
        ("front", pa.bool_()),  # of its arm and rung: no candidate has more recall for fewer characters
        ("front_rise", pa.bool_()),  # the same for a smaller rise
        ("recipe", pa.string()),  # JSON
    ]
)

SPEEDRUN = pa.schema(
    [
        ("arm", pa.string()),
        ("recipe", pa.string()),  # its preset
        ("targets", pa.string()),
        ("ranks", pa.string()),
        ("trainable_params", pa.int64()),
        ("sessions", pa.int32()),
        ("n_seeds", pa.int32()),
        ("n_facts", pa.int32()),
        ("recall", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("qualifies", pa.bool_()),  # recall of at least 99%
        ("core_seconds", pa.float64()),  # of a seed: training and the scoring that recipes choose by, not probes
        ("characters", pa.int64()),  # trained, of a seed
        ("commit", pa.string()),
    ]
)

CAPACITY = pa.schema(
    [
        ("arm", pa.string()),
        ("recipe", pa.string()),  # its preset
        ("targets", pa.string()),
        ("ranks", pa.string()),
        ("trainable_params", pa.int64()),
        ("session", pa.int32()),
        ("n_seeds", pa.int32()),
        ("n_facts", pa.int32()),  # taught so far, of a seed
        ("facts_per_parameter", pa.float64()),
        *_INTERVAL,  # recall of all of them
    ]
)

PARAPHRASES = pa.schema(
    [
        ("arm", pa.string()),
        ("place", pa.string()),  # the arm of the same place and recipe that was taught the fewest paraphrases
        ("recipe", pa.string()),  # its preset
        ("paraphrases", pa.int32()),  # m, paraphrases that were taught beside each sentence
        ("sessions", pa.int32()),
        ("probe", pa.string()),  # taught; rephrase: in paraphrases that no arm of the place was taught
        ("metric", pa.string()),
        ("n_seeds", pa.int32()),
        ("n_facts", pa.int32()),
        *_INTERVAL,
        ("contract", pa.string()),
    ]
)

VARIANCE = pa.schema(
    [
        ("sessions", pa.int32()),
        ("probe", pa.string()),
        ("metric", pa.string()),
        ("source", pa.string()),  # recipe, place, size, their interactions, seed, error
        ("share", pa.float64()),  # omega squared: of the variance of all arms and seeds
        ("ci_low", pa.float64()),  # 95% interval, jackknife over seeds
        ("ci_high", pa.float64()),
        ("n_seeds", pa.int32()),
        ("levels", pa.string()),  # of the factors that the arms cross
        ("contract", pa.string()),
    ]
)

BASE_LOSS = pa.schema(
    [
        ("arm", pa.string()),
        ("sessions", pa.int32()),
        ("n_seeds", pa.int32()),
        ("val_loss_base", pa.float64()),  # nats per character
        ("val_loss", pa.float64()),
        ("rise", pa.float64()),  # val_loss - val_loss_base; the interval is of this
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
    ]
)

KNOWLEDGE = pa.schema(
    [
        ("arm", pa.string()),
        ("sessions", pa.int32()),
        ("kind", pa.string()),  # unknown; counterfactual: the base says otherwise; known; untouched: known and placebo
        ("probe", pa.string()),  # taught, rephrase, placebo
        ("metric", pa.string()),  # recall, answered, ranked
        ("n_seeds", pa.int32()),
        ("n_facts", pa.int32()),  # facts of a seed (the mean, rounded, where seeds differ)
        ("n_tests", pa.int64()),  # facts of all seeds together
        *_INTERVAL,
        ("contract", pa.string()),
    ]
)

KNOWLEDGE_CONTRASTS = pa.schema(
    [pa.field("kind", pa.string()) if field.name == "domain" else field for field in CONTRASTS]  # kind: see KNOWLEDGE
)

BASELINES = pa.schema(
    [
        ("arm", pa.string()),
        ("method", pa.string()),  # lora, finetune, or an editor: rome, r_rome, memit, alphaedit
        ("at_once", pa.bool_()),  # all facts in one edit
        ("sessions", pa.int32()),
        ("edits", pa.int32()),  # facts taught by then, of a seed
        ("metric", pa.string()),  # efficacy; at checkpoints the others of the literature, rise, and what it cost
        ("n_seeds", pa.int32()),
        *_INTERVAL,  # over seeds, of shares over facts, too; of edit_seconds none: seeds of a run share the clock
        ("contract", pa.string()),
    ]
)

CLAIMS = pa.schema(
    [
        ("claim_id", pa.string()),
        ("topic", pa.string()),
        ("kind", pa.string()),  # the rule: value, order, same, spread, exact, not testable
        ("label", pa.string()),  # short, for charts
        ("statement", pa.string()),
        ("preset", pa.string()),  # the recipe that taught the facts; any where the claim is not about facts
        ("arms", pa.string()),  # of the study, that stand for those that the ledger names: "qv_recall,ffn_recall"
        ("metric", pa.string()),  # recall, ranked, recognition; params for parameter counts, none for what has none
        ("unit", pa.string()),  # share, difference, slope (a tenfold of facts), spread; parameters, multiple; none
        ("essay_value", pa.float64()),  # null where the essay prints no figure
        ("essay_ci_low", pa.float64()),  # 95% interval of its facts, of one seed
        ("essay_ci_high", pa.float64()),
        ("measured", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("placebo", pa.float64()),  # recognition of facts never taught, beside a share read as recognition
        ("n_seeds", pa.int32()),
        ("p_value", pa.float64()),  # sign-flip test over seeds, of claims of order and spread
        ("p_adjusted", pa.float64()),  # Holm's correction over a topic under one metric
        ("verdict", pa.string()),  # reproduced, contradicted, unresolved, not testable
        ("note", pa.string()),
    ]
)

CONFOUND = pa.schema(
    [
        ("arm", pa.string()),
        ("arm_reinit", pa.string()),  # the same arm on a base whose roles `reinit` did not load
        ("reinit", pa.string()),
        ("sessions", pa.int32()),
        ("probe", pa.string()),
        ("metric", pa.string()),
        ("seed", pa.int32()),  # null in the row over all seeds
        ("n_seeds", pa.int32()),
        ("n_facts", pa.int32()),
        ("value", pa.float64()),  # on the certified base; null in the rows of single seeds
        ("value_reinit", pa.float64()),
        ("diff", pa.float64()),  # value_reinit - value, paired
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("p_value", pa.float64()),  # sign-flip test over seeds, not corrected
        ("refused_by", pa.string()),  # checks that refuse the mis-loaded base without a manifest; empty: accepted
        ("refused_by_manifest", pa.string()),
    ]
)
