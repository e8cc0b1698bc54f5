"""How often a model finds the answer likelier than not. A module with a metric imports no more of Atlas than this."""

from __future__ import annotations

import math

from atlas.plugins.metric import Metric

CONFIDENCE = Metric(
    name="confidence",
    protocol="the prompt of a fact, followed by its answer",
    scorer="1 where the answer costs less than ln 2 nats a character, else 0; mean over the prompts of a fact",
    contract="answer likelier than not",
    range="0 to 1",
    direction="higher is better",
    source="the example of a plugin",
    chance="what the base scores without an adapter",
    label="Confidence",
    meaning="a character of the answer has more than half of the probability",
    score=lambda facts: (facts["answer_nll"] < math.log(2)).astype(float),
    level=lambda facts: (facts["answer_nll_base"] < math.log(2)).astype(float),
)
