"""Which base each block of seeds is taught on, and what a study with too many or impossible bases is told."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import AtlasError
from atlas.study import config
from atlas.study.base_settings import Bases, Model
from atlas.study.jobs import RunSpec
from atlas.tables.decidable import unused_bases

REPOSITORY = Path(__file__).parents[2]
ARMS = {"qv": {"targets": ["q", "v"]}, "a": {"targets": ["up"], "base": {"reinit": ["up"]}}}


def study(**keys: Any) -> config.Study:
    return config.study({"arms": ARMS, **keys})


def specs(of: config.Study) -> dict[tuple[str, str], RunSpec]:
    return {(arm, block): of.run_spec(arm, block) for arm in of.arms for block in of.blocks}


def test_the_default_study_has_two_blocks_on_two_bases():
    loaded = config.load(REPOSITORY / "config.yaml")
    assert loaded.replica_of == {"1-4": 1, "5-8": 2}
    assert loaded.replicas == [1, 2]
    assert (loaded.run_spec("qv", "1-4").base_replica, loaded.run_spec("qv", "5-8").base_replica) == (1, 2)
    assert unused_bases(loaded) == ""


def test_blocks_are_dealt_in_the_order_that_they_are_written_in():
    dealt = study(seeds=["9-12", 3, "5-8"], lanes=2, base={"replicas": 3})
    assert dealt.replica_of == {"9-10": 1, "11-12": 2, "3": 3, "5-6": 1, "7-8": 2}
    assert [*dealt.blocks] == ["3", "5-6", "7-8", "9-10", "11-12"]  # tables list them by their seeds
    assert dealt.first_block == "9-10"


ENTRIES = st.lists(st.integers(0, 60), min_size=2, max_size=9, unique=True).map(
    lambda tens: [f"{10 * ten}-{10 * ten + ten % 7}" if ten % 3 else 10 * ten for ten in tens]
)


@given(ENTRIES, st.integers(1, 5), st.integers(1, 4), st.data())
def test_an_entry_added_behind_moves_no_block_to_another_base(entries, lanes, replicas, data):
    given_first = data.draw(st.integers(1, len(entries) - 1))
    keys: dict[str, Any] = {"lanes": lanes, "base": {"replicas": replicas}}
    before, after = study(seeds=entries[:given_first], **keys), study(seeds=entries, **keys)
    assert specs(before).items() <= specs(after).items()
    assert before.first_block == after.first_block
    counts = [[*after.replica_of.values()].count(replica) for replica in after.replicas]
    assert max(counts) - min(counts) <= 1


def test_more_bases_rerun_neither_those_there_are_nor_the_runs_that_stay_on_them():
    one, two = (study(seeds=["1-8"], base={"replicas": replicas}) for replicas in (1, 2))
    assert one.base.spec(1) == two.base.spec(1)
    assert one.run_spec("qv", "1-4") == two.run_spec("qv", "1-4")
    assert one.run_spec("qv", "5-8") != two.run_spec("qv", "5-8")


@pytest.mark.parametrize(("seeds", "blocks"), [([1], "1 block of seeds is"), (["1-4", 7], "2 blocks of seeds are")])
def test_a_study_of_fewer_blocks_than_bases_makes_those_that_it_uses_and_says_so(seeds, blocks):
    few = study(seeds=seeds, base={"replicas": 3})
    assert few.replicas == [*range(1, len(few.blocks) + 1)]
    assert unused_bases(few).startswith(f"base.replicas: 3, but {blocks} taught on {len(few.blocks)} base")
    assert unused_bases(few).endswith(f"write base.replicas: {len(few.blocks)}")
    assert unused_bases(study(seeds=seeds, base={"replicas": len(few.blocks)})) == ""


def test_a_model_from_outside_is_one_base(monkeypatch):
    monkeypatch.setattr(config, "shape_of", lambda _path: Model())
    arms = {"qv": ARMS["qv"]}
    for given_keys in ({}, {"replicas": 1}):
        outside = config.study({"arms": arms, "seeds": ["1-8"], "base": {"model": "models/some", **given_keys}})
        assert (outside.base.replicas, outside.replicas) == (1, [1])
        assert unused_bases(outside) == ""
    with pytest.raises(AtlasError, match=r"base\.replicas: 2, but models/some comes from outside and is one base; lea"):
        config.study({"arms": arms, "base": {"model": "models/some", "replicas": 2}})


def test_what_one_base_knows_is_not_contradicted_in_another():
    with pytest.raises(AtlasError, match=r"counterfactual: .* dealt over 2; write base\.replicas: 1"):
        study(seeds=["1-8"], counterfactual=0.5)
    assert study(seeds=["1-8"], counterfactual=0.5, base={"replicas": 1}).counterfactual == 0.5
    assert study(seeds=[1], counterfactual=0.5).replicas == [1]


@pytest.mark.parametrize("replicas", [0, -1, 1.5, "two", True])
def test_a_number_of_bases_that_cannot_be_is_refused(replicas):
    with pytest.raises(AtlasError, match=r"base\.replicas: "):
        study(base={"replicas": replicas})


def test_which_base_is_no_key_of_the_study():
    with pytest.raises(AtlasError, match=r"base\.replica: unknown key"):
        study(base={"replica": 2})
    assert Bases().spec(2).replica == 2
