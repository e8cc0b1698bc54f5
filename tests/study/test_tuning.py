"""How a learning rate was chosen: in words, refused where it cannot be so, and no part of any run."""

import pytest

from atlas.errors import AtlasError
from atlas.study import config
from atlas.study.arm import Arm
from atlas.study.recipes import Recipe
from atlas.study.tuning import in_words
from tests.study.made_study import jobs_of

PLACE = {"targets": ["q", "v"]}
RATE = {"recipe": {"preset": "recall", "phases": {"all": {"lr": 0.003}}}}
BY_HAND, SEARCHED = {"seeds": [901]}, {"seeds": [901, 902], "study": "studies/search.yaml"}


def said(**keys) -> str:
    arm = Arm.model_validate(({} if "method" in keys else PLACE) | keys)
    return in_words(arm.tuned, arm.recipe_over(Recipe.model_validate({})), arm.edits)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, "0.003, that of preset essay, not tuned"),  # the essay prints none
        ({"recipe": {"phases": {"fast": None}}}, "0.001, that of preset essay, not tuned"),
        ({"recipe": {"preset": "recall"}}, "0.002, that of preset recall, not tuned"),
        ({"recipe": {"phases": {"fast": {"lr": 0.01}}}}, "0.01, not tuned"),
        ({"recipe": {"phases": {"slow": {"lr": 0.01}}}}, "0.003, not tuned"),
        ({"recipe": {"preset": "mine", "phases": {"all": {"steps": 1, "lr": 0.003}}}}, "0.003, not tuned"),
        ({"recipe": {"phases": {"fast": None, "slow": None}}}, "trains nothing"),
        (RATE | {"tuned": BY_HAND}, "0.003, by hand on seed 901"),
        (RATE | {"tuned": BY_HAND | {"rates": [0.003]}}, "0.003, the one rate tried, by hand on seed 901"),
        (
            RATE | {"tuned": SEARCHED | {"rates": [0.004, 0.003, 0.001]}},
            "0.003, of 3 rates tried (0.001 to 0.004), studies/search.yaml on seeds 901 and 902",
        ),
        (
            RATE | {"tuned": SEARCHED | {"rates": [0.001, 0.003]}},
            "0.003, the highest of 2 rates tried (0.001 to 0.003), studies/search.yaml on seeds 901 and 902",
        ),
        (
            RATE | {"tuned": BY_HAND | {"rates": [0.003, 0.004]}},
            "0.003, the lowest of 2 rates tried (0.003 to 0.004), by hand on seed 901",
        ),
        ({"method": "rome"}, "settings, not tuned"),
        ({"method": "rome", "tuned": SEARCHED}, "settings, studies/search.yaml on seeds 901 and 902"),
    ],
)
def test_how_a_rate_was_chosen_is_said_as_far_as_the_study_tells(keys, words):
    assert said(**keys) == words


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        (PLACE | RATE | {"tuned": {"seeds": [1, 901]}}, r"arms\.a\.tuned\.seeds: seed 1 is one of the study's"),
        (
            PLACE | RATE | {"tuned": {"seeds": [901], "rates": [0.002, 0.001]}},
            r"arms\.a\.tuned\.rates: found 0\.001 and 0\.002, but the arm's learning rate is 0\.003; .* tuned: null",
        ),
        (
            {"method": "rome", "tuned": {"seeds": [901], "rates": [0.5]}},
            r"arms\.a\.tuned\.rates: the arm trains nothing, so it has no learning rate",
        ),
        (PLACE | {"tuned": {"seeds": []}}, r"arms\.a\.tuned\.seeds: .*at least 1 item"),
        (PLACE | {"tuned": {"seed": [901]}}, r"arms\.a\.tuned\.seed: unknown key"),
    ],
)
def test_what_cannot_be_so_is_refused(arm, message):
    with pytest.raises(AtlasError, match=message) as caught:
        config.study({"arms": {"a": arm}})
    assert "\n" not in str(caught.value)


def test_no_job_depends_on_the_words():
    without, with_ = (
        config.study({"arms": {"a": PLACE | RATE | more}}) for more in ({}, {"tuned": SEARCHED | {"rates": [0.003]}})
    )
    assert jobs_of(without) == jobs_of(with_)
    assert (without.tuned, [*with_.tuned]) == ({}, ["a"])
