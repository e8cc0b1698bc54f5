import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import AtlasError
from atlas.pool.shares import largest_remainder
from atlas.study.pool_settings import SHARES

names = st.text("abcdefgh", min_size=1, max_size=3)
shares_of_some = st.dictionaries(names, st.integers(0, 500), min_size=1).filter(lambda shares: any(shares.values()))


@given(st.integers(0, 5000), shares_of_some)
def test_parts_add_up_and_stay_within_one_of_their_quota(total, shares):
    parts = largest_remainder(total, shares)
    assert sum(parts.values()) == total
    assert list(parts) == list(shares)
    whole = sum(shares.values())
    for name, share in shares.items():
        assert abs(parts[name] - total * share / whole) < 1


@given(st.integers(0, 500), shares_of_some)
def test_larger_shares_never_get_less(total, shares):
    parts = largest_remainder(total, shares)
    assert all(parts[a] >= parts[b] for a in shares for b in shares if shares[a] > shares[b])


@given(st.data(), shares_of_some)
def test_two_roles_of_one_stock_never_ask_for_more_than_there_is(data, stock):
    taught = data.draw(st.integers(0, sum(stock.values())))
    placebo = data.draw(st.integers(0, sum(stock.values()) - taught))
    first = largest_remainder(taught, stock, stock)
    left = {name: stock[name] - first[name] for name in stock}
    second = largest_remainder(placebo, stock, left)
    assert all(0 <= second[name] <= left[name] for name in stock)


def test_the_essay_s_domains():
    assert largest_remainder(1520, SHARES) == SHARES
    assert [*largest_remainder(380, SHARES).values()] == [114, 89, 63, 43, 42, 19, 8, 2]
    assert [*largest_remainder(300, SHARES).values()] == [90, 70, 50, 34, 33, 15, 6, 2]


def test_a_tie_goes_to_the_share_named_first():
    assert largest_remainder(1, {"b": 1, "a": 1}) == {"b": 1, "a": 0}


def test_nothing_to_split_over():
    assert largest_remainder(0, {"a": 0}) == {"a": 0}
    with pytest.raises(AtlasError, match="3 facts are to be split over shares that add up to 0"):
        largest_remainder(3, {"a": 0})
