"""Two checkouts share one cache: what one has made the other takes, and nothing that other code has made."""

from __future__ import annotations

import pytest

from tests.real import checkout
from tests.real.test_edits import code

TARGET = "results/ttt/qv/1-2/run.json"
RUN = ("run.json", "facts.parquet", "matrix.parquet", "sessions.parquet", "adapters.safetensors")
COSTLY = ("base/corpus.txt", "base/1/base.safetensors", "base/1/base.json", *(f"ttt/qv/1-2/{name}" for name in RUN))


def contents(made):
    return {name: made.file(name).read_bytes() for name in COSTLY}


def ran(made):
    """The costly jobs that said something: of what comes from the cache the log is empty."""
    logs = {"corpus": "base/corpus", "pretrain": "base/1/pretrain", "teach": "ttt/qv/1-2"}
    return {rule for rule, name in logs.items() if made.file(f"logs/{name}.log").stat().st_size}


@pytest.mark.slow
def test_two_checkouts_share_a_cache(tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    cache.mkdir()
    monkeypatch.setenv("SNAKEMAKE_OUTPUT_CACHE", str(cache))
    first, second = (checkout.make(tmp_path / name, checkout.STUDY) for name in ("first", "second"))

    first.done("--cache", "--", TARGET)
    assert ran(first) == {"corpus", "pretrain", "teach"}
    of_first = contents(first)

    second.done("--cache", "--", TARGET)
    assert ran(second) == set()
    assert contents(second) == of_first
    assert all(second.file(name).resolve().parent == cache for name in COSTLY)
    assert second.jobs("--cache", "--", TARGET) == set()

    # an edit makes a result of its own, and leaves that of the first where it is
    adapters = second.root / "atlas/ttt/engine/lanes.py"
    before = adapters.read_text()
    code("atlas/ttt/engine/lanes.py", "base_weights")(second)
    assert second.jobs("--cache", "--", TARGET) == {"teach qv 1-2"}
    second.done("--cache", "--", TARGET)
    assert ran(second) == {"teach"}
    assert contents(second)["ttt/qv/1-2/run.json"] != of_first["ttt/qv/1-2/run.json"]
    assert contents(first) == of_first

    # without the edit the first result is right again, and is taken
    adapters.write_text(before)
    second.file("logs/ttt/qv/1-2.log").unlink()
    second.done("--cache", "--", TARGET)
    assert ran(second) == set()
    assert contents(second) == of_first == contents(first)


def test_without_a_cache_nothing_is_said_of_one(fresh):
    assert "eligible for caching" not in fresh.done("--dry-run")


def test_who_has_a_cache_and_does_not_use_it_is_told(fresh, monkeypatch):
    monkeypatch.setenv("SNAKEMAKE_OUTPUT_CACHE", str(fresh.root))
    assert "teach is eligible for caching" in fresh.done("--dry-run")
