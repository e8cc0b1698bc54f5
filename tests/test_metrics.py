"""The contract of metrics: complete, in step with its page, and kept by whatever subtracts."""

from pathlib import Path

import numpy as np
import pytest

from atlas import metrics
from atlas.errors import AtlasError
from atlas.tables import baselines, continual, knowledge, measures
from atlas.tables.intervals import Sample, estimate

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"
LEVELS = np.array([0.0, 1.0])


def test_the_page_is_in_step():
    assert PAGE.read_text(encoding="utf-8") == metrics.document(), "run: atlas metrics --out docs/metrics.md"


def test_every_metric_of_the_tables_is_declared():
    computed = {
        *metrics.OF_FACTS,
        metrics.NET,
        "rise",
        "retention",
        "half_life",
        *continual.SHARES,
        *continual.DIFFERENCES,
        *baselines.METRICS,
        *knowledge.SCORES,
    }
    assert {declared.name for declared in metrics.METRICS} == computed
    assert all(callable(getattr(measures, name)) for name in (*continual.SHARES, *continual.DIFFERENCES, "half_life"))


def test_only_what_is_measured_alike_shares_a_contract():
    contracts = [metrics.contract(name) for name in (*metrics.OF_FACTS, metrics.NET, "rise", *continual.DIFFERENCES)]
    assert len(contracts) == len(set(contracts))
    assert metrics.contract("average") == metrics.contract("retention")


def sample(metric: str) -> Sample:
    return Sample(np.array([[1, 2], [2, 1]]), LEVELS, metric=metric)


def test_figures_of_two_contracts_are_not_subtracted():
    assert estimate(sample("recognition"), minus=sample("recognition"))
    with pytest.raises(AtlasError, match=r"recall \(exact answer\) and ranked .* are not comparable"):
        estimate(sample("recall"), minus=sample("ranked"))


def test_an_undeclared_metric_is_named():
    with pytest.raises(AtlasError, match="'retention_rate' is not declared; there are recall, ranked"):
        metrics.metric("retention_rate")
