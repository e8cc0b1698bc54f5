"""`lanes: auto`: the same blocks wherever the study is planned, as many seeds in each as its device has room for."""

import pytest

from atlas.errors import AtlasError
from atlas.study import config
from atlas.study.base_settings import Model
from atlas.study.block_size import lanes_that_fit, tokens_of_a_step
from atlas.study.recipes import Recipe

SMALL = Model(layers=4, width=128, heads=4, ffn=512, context=256)
SMOLLM2 = Model(layers=30, width=576, heads=9, ffn=1536, context=256)
MEASURED = [  # shape, lanes, tokens of a lane, numbers that it trains, MiB at the peak, by benchmarks/gpu.sh on an H200
    (SMALL, 64, 32 * 47, 163_840, 3_401),
    (SMALL, 256, 3 * 48, 163_840, 2_440),
    (SMOLLM2, 32, 32 * 10, 4_055_040, 23_359),
    (SMOLLM2, 32, 3 * 10, 4_055_040, 5_713),
]


@pytest.mark.parametrize(("shape", "lanes", "tokens", "trained", "mib"), MEASURED)
def test_no_more_lanes_than_were_seen_to_fit_and_not_far_fewer(shape, lanes, tokens, trained, mib):
    just = lanes_that_fit(mib / 1024, shape, tokens, trained)
    assert lanes / 4 <= just <= lanes


def test_more_memory_holds_more_until_more_is_no_faster():
    found = [lanes_that_fit(gib, SMALL, 768, 65_536) for gib in (0.01, 1, 4, 16, 64, 1000)]
    assert found[0] == 1
    assert found[1:] == sorted(found[1:])
    assert found[-1] == 256
    assert all(number.bit_count() == 1 for number in found)


def test_a_step_is_as_large_as_its_largest_phase():
    recipe = Recipe.model_validate(
        {
            "preset": "own",
            "paraphrases": 1,
            "phases": {
                "a": {"steps": 1, "rehearsal": {"facts": 4}, "text": {"windows": 2, "characters": 100}},
                "b": {"steps": 1, "new": False, "rehearsal": {"facts": 50}, "batch": 5},
            },
        }
    )
    assert tokens_of_a_step(recipe, 3, outside=False) == (3 * 2 + 4) * 64 + 200
    assert tokens_of_a_step(recipe, 3, outside=True) == (3 * 2 + 4) * 24 + 200


def blocks(**changes):
    """Names of the blocks of a study of 300 seeds."""
    plain = {"arms": {"qv": {"targets": ["q", "v"]}}, "seeds": ["1-300"], "lanes": "auto"}
    return list(config.study(plain | changes).blocks)


def test_blocks_follow_from_the_study_alone(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    assert blocks()[0] == blocks(device="auto")[0] == "1-4"  # a processor may have to do
    assert blocks(device="cuda")[0] == "1-256"
    assert blocks(device="cuda", gpu_memory=2)[0] == "1-64"
    assert blocks(device="cuda", lanes=3)[0] == "1-3"


def test_the_arm_that_takes_most_decides():
    large = {"targets": ["q", "v"], "recipe": {"phases": {"slow": {"rehearsal": {"facts": 500}, "batch": None}}}}
    both = {"qv": {"targets": ["q", "v"]}, "large": large}
    assert blocks(device="cuda", arms={"large": large}) == blocks(device="cuda", arms=both)
    assert len(blocks(device="cuda", arms=both)) > len(blocks(device="cuda"))


def test_lanes_are_a_number_or_auto():
    with pytest.raises(AtlasError, match=r"lanes: .*valid integer.* or Input should be 'auto', found 'many'"):
        blocks(lanes="many")
    with pytest.raises(AtlasError, match="gpu_memory: Input should be greater than 0"):
        blocks(gpu_memory=0)
