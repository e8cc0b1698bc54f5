"""The map of a study: the arms that it makes, what they spend, and what it complains of."""

from pathlib import Path

import pytest

from atlas.errors import AtlasError
from atlas.study import config
from atlas.study.place_map import PlaceMap
from tests.study.made_study import jobs_of

REPOSITORY = Path(__file__).parents[2]
ROLES = ["q", "k", "v", "o", "up", "down"]
BUDGETS = [8000, 32_000, 65_000]
WHOLE = {"slot": BUDGETS, "role": BUDGETS, "layer": BUDGETS}
RATES = {"slot": {"attention": 0.008, "feed_forward": 0.004}, "role": {"feed_forward": 0.003}, "layer": 0.001}


def study(arms=("qv",), **keys):
    given = {"roles": ROLES, "layers": [0, 1, 2, 3], "budgets": WHOLE, "recipe": {"preset": "recall"}, "rates": RATES}
    return config.study({"arms": {name: {"targets": ["q", "v"]} for name in arms}, "map": given | keys})


def test_every_role_in_every_layer_then_whole_roles_then_whole_layers_each_at_every_budget():
    cells = study().cells
    assert len(cells) == (6 * 4 + 6 + 4) * 3
    assert [cell.arm for cell in cells[:4]] == ["map_q_0_8k", "map_q_0_32k", "map_q_0_65k", "map_q_1_8k"]
    assert [cell.arm for cell in cells[72:75]] == ["map_q_all_8k", "map_q_all_32k", "map_q_all_65k"]
    assert [cell.arm for cell in cells[-3:]] == ["map_all_3_8k", "map_all_3_32k", "map_all_3_65k"]


@pytest.mark.parametrize(
    ("arm", "targets", "ranks", "spent"),
    [
        ("map_q_0_8k", ["q"], [31, 0, 0, 0], 31 * 256),
        ("map_o_3_32k", ["o"], [0, 0, 0, 125], 125 * 256),
        ("map_up_1_8k", ["up"], [0, 12, 0, 0], 12 * 640),
        ("map_down_2_65k", ["down"], [0, 0, 102, 0], 102 * 640),
        ("map_v_all_65k", ["v"], [63, 63, 63, 63], 63 * 1024),
        ("map_up_all_8k", ["up"], [3, 3, 3, 3], 3 * 2560),
        ("map_all_2_32k", ROLES, [0, 0, 14, 0], 14 * 2304),
    ],
)
def test_an_arm_has_the_rank_that_comes_nearest_to_its_budget(arm, targets, ranks, spent):
    made = study()
    found = made.arm(arm)
    assert (found.targets, found.ranks) == (targets, ranks)
    assert found.adapter_parameters(made.shape) == spent
    assert made.run_spec(arm, "1-4").ranks == ranks


def test_a_place_that_no_rank_fits_is_a_cell_without_an_arm():
    made = study()
    none = [cell for cell in made.cells if cell.rank is None]
    # a matrix of 128 by 128 has 128 ranks of 256 parameters
    assert {(cell.unit, cell.budget, cell.most) for cell in none} == {("slot", 65_000, 128 * 256)}
    assert {cell.role for cell in none} == {"q", "k", "v", "o"}
    assert len(none) == 16
    assert list(made.mapped) == [cell.arm for cell in made.cells if cell.rank]
    little = study(roles=["q", "up"], layers=[1], budgets={"slot": [320, 321]})  # half a rank of up is 320
    assert list(little.mapped) == ["map_q_1_320", "map_q_1_321", "map_up_1_321"]


def test_rates_go_by_the_kind_of_place_and_the_half_that_it_is_in():
    made = study()
    rates = {
        "map_k_1_8k": 0.008,
        "map_up_1_32k": 0.004,
        "map_k_all_8k": 0.002,  # none is given, so the preset's
        "map_down_all_8k": 0.003,
        "map_all_0_8k": 0.001,
    }
    assert {arm: made.recipe_of(arm).active["all"].lr for arm in rates} == rates
    plain = study(rates={}).recipe_of("map_k_1_8k")
    assert plain.active["all"].lr == 0.002  # the preset's
    assert plain == made.recipe_of("map_k_1_8k").with_overrides({"phases": {"all": {"lr": 0.002}}})
    essay = study(recipe={}).recipe_of("map_q_0_8k")
    assert [phase.lr for phase in essay.active.values()] == [0.008, pytest.approx(0.008 / 3)]  # in proportion


def test_the_order_of_roles_layers_and_budgets_decides_nothing():
    turned = study(roles=ROLES[::-1], layers=[3, 1, 2, 0, 0], budgets=dict.fromkeys(WHOLE, BUDGETS[::-1]))
    assert turned == study()
    assert jobs_of(turned) == jobs_of(study())


def test_arms_of_the_map_stand_beside_those_of_the_study():
    made = study()
    assert list(made.arms) == ["qv"]
    assert "run map_q_0_8k 1-4" in jobs_of(made)
    assert config.study({"arms": {"qv": {"targets": ["q", "v"]}}}).mapped == {}
    with pytest.raises(KeyError):
        made.arm("map_q_0_65k")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"roles": []}, "map.roles: "),
        ({"roles": ["q", "q"]}, "map.roles: ['q', 'q'] names a role twice"),
        ({"roles": ["gate"]}, "map.roles: the base that is pretrained here has no gate"),
        ({"layers": [0, 4]}, "map.layers: found 4, expected some of 0 to 3"),
        ({"budgets": {}}, "map.budgets: none"),
        ({"budgets": {"slots": [8000]}}, "map.budgets.slots: unknown key"),
        ({"budgets": {"slot": [100_000]}}, "map.budgets.slot: no place can have about 100,000 parameters"),
        ({"budgets": {"role": [100]}}, "map.budgets.role: no place can have about 100 parameters"),
        ({"recipe": {"preset": "recall", "clips": 1}}, "map.recipe.clips: unknown key"),
        ({"recipe": {"phases": {"fast": None, "slow": None}}}, "map.rates: the recipe trains nothing"),
        ({"rates": {"slot": {"attention": 2}}}, "map.rates.slot.attention: "),
        ({"arms": ("qv", "map_q_0_8k")}, "arms.map_q_0_8k: the map has an arm of this name"),
    ],
)
def test_mistakes_are_said_in_a_line_with_their_key(keys, said):
    with pytest.raises(AtlasError) as error:
        study(**keys)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_all_mistakes_are_said_at_once():
    with pytest.raises(AtlasError) as error:
        study(budgets={"slot": [10**6], "layer": [10]}, recipe={"clips": 1})
    for key in ("budgets.slot", "budgets.layer", "recipe.clips"):
        assert f"map.{key}: " in str(error.value)


def test_the_study_of_the_map_has_places_that_all_can_have_their_budget_beside_its_controls():
    made = config.load(REPOSITORY / "config.yaml", REPOSITORY / "studies/map.yaml")
    assert len(made.mapped) == len(made.cells) == 6 * 4 + 6 * 3 + 4 * 3
    assert list(made.arms) == ["untrained", "all_recall"]
    assert len(made.all_seeds) == 8
    assert {made.recipe_of(arm).preset for arm in made.mapped} == {"recall"}
    for cell in made.cells:  # as near as a rank comes
        spent = made.mapped[cell.arm].adapter_parameters(made.shape)
        assert cell.rank
        assert abs(spent - cell.budget) <= spent / cell.rank / 2


def test_the_schema_knows_the_map():
    schema = config.Study.model_json_schema()
    assert schema["$defs"]["PlaceMap"]["additionalProperties"] is False
    assert set(schema["$defs"]["PlaceMap"]["properties"]) == set(PlaceMap.model_fields)
