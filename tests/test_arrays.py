"""Sums that are exact whatever the order, and grids read without being expanded."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import NUMBERS

from dualroute import arrays
from dualroute.arrays import at, exact_sum, exact_sums, part_of, pool_sums, read_only


def rounded_once(values):
    """The exact sum, then the one rounding to a float."""
    return float(sum(map(Fraction, values), Fraction(0)))


@given(st.lists(NUMBERS))
def test_a_sum_is_the_exact_one_rounded_once(values):
    assert exact_sum(np.array(values)) == rounded_once(values)


@given(st.lists(st.tuples(NUMBERS, st.integers(-1, 3))))
def test_sums_per_pool_are_exact_and_skip_pool_minus_one(pairs):
    values = np.array([value for value, _ in pairs])
    pool = np.array([r for _, r in pairs], np.int64)
    expected = [rounded_once(v for v, p in pairs if p == r) for r in range(4)]
    assert exact_sums(values, pool, 4).tolist() == expected


@given(st.lists(st.tuples(st.integers(-(2**40), 2**40), st.integers(-1, 2)), max_size=50))
def test_whole_numbers_add_up_to_the_integer_sum(pairs):
    values = np.array([value for value, _ in pairs], np.float64)
    pool = np.array([r for _, r in pairs], np.int32)
    expected = [sum(v for v, p in pairs if p == r) for r in range(3)]
    assert exact_sums(values, pool, 3).tolist() == expected


@given(st.lists(st.tuples(st.floats(-1, 1, width=32), st.integers(-1, 1))))
def test_float32_values_are_added_in_double_precision(pairs):
    values = np.array([value for value, _ in pairs], np.float32)
    pool = np.array([r for _, r in pairs], np.int32)
    expected = [rounded_once(v for v, p in pairs if p == r) for r in range(2)]
    assert exact_sums(values, pool, 2).tolist() == expected
    assert exact_sum(values) == rounded_once(v for v, _ in pairs)


def test_cancellation_leaves_the_small_term():
    # 1e16 + 1 rounds to 1e16, so a running sum would give 0.
    assert exact_sum(np.array([1e16, 1.0, -1e16])) == 1.0
    assert exact_sums(np.array([1e16, 1.0, -1e16]), np.zeros(3, int), 1).tolist() == [1.0]


def test_whole_numbers_past_two_to_the_53_are_not_trusted_to_a_running_sum():
    # 2**53 + 1 is no double; the two ones only count together.
    values = np.array([2.0**53, 1.0, 1.0])
    assert exact_sums(values, np.zeros(3, int), 1).tolist() == [2.0**53 + 2]
    assert exact_sums(values, np.array([0, 0, 1]), 2).tolist() == [2.0**53, 1.0]


def test_a_million_tenths_sum_to_the_rounded_product():
    # The exact sum is 10**6 times the double nearest to 0.1; a running sum is 1e-6 off.
    values = np.full(10**6, 0.1)
    assert exact_sum(values) == float(10**6 * Fraction(0.1))


def test_a_sum_that_overflows_on_the_way_is_still_exact():
    # 8 * 1e308 is past the largest double, 8 ones are not; column by column each 1 is absorbed.
    values = np.repeat([1e308, 1.0, -1e308], 8)
    assert exact_sum(values) == 8.0
    assert exact_sums(values, np.zeros(24, int), 1).tolist() == [8.0]


def test_no_values_sum_to_zero_in_every_pool():
    assert exact_sum(np.empty(0)) == 0.0
    assert exact_sums(np.empty(0), np.empty(0, int), 3).tolist() == [0.0, 0.0, 0.0]
    assert exact_sums(np.array([0.1]), np.array([-1]), 2).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.uint16, np.int32, np.uint64])
@pytest.mark.parametrize("add", [exact_sums, pool_sums])
def test_the_last_pool_of_a_narrow_type_is_counted_like_any_other(add, dtype):
    # Pool 127 of int8 and pool 255 of uint8 are the largest numbers these types hold.
    n_pools = min(256, int(np.iinfo(dtype).max) + 1)
    pool = np.arange(n_pools, dtype=dtype)
    assert add(np.ones(n_pools), pool, n_pools).tolist() == [1.0] * n_pools


def test_plain_sums_per_pool_skip_pool_minus_one():
    values, pool = np.array([1.0, 2.5, 4.0, 8.0], np.float32), np.array([2, -1, 0, 2])
    assert pool_sums(values, pool, 4).tolist() == [4.0, 0.0, 9.0, 0.0]
    assert pool_sums(np.empty(0), np.empty(0, int), 2).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("shape", [(3, 2), (3, 1), (1, 2), (1, 1)])
def test_a_grid_is_read_at_the_chosen_models(shape):
    grid = np.arange(shape[0] * shape[1], dtype=float).reshape(shape)
    whole = np.broadcast_to(grid, (3, 2))
    routing = np.array([1, 0, 1])
    assert at(grid, routing).tolist() == [whole[0, 1], whole[1, 0], whole[2, 1]]
    assert part_of(grid, np.array([2, 0])).tolist() == (
        grid.tolist() if shape[0] == 1 else grid[[2, 0]].tolist()
    )


def test_a_read_only_view_leaves_the_original_writeable():
    mine = np.zeros(3)
    view = read_only(mine)
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 1
    mine[0] = 2
    assert view[0] == 2  # a view: nothing was copied


@given(st.lists(NUMBERS, max_size=40), st.integers(1, 3))
def test_compiled_sums_are_exact_too(numbers, n_pools):
    values = np.array(numbers * 40)
    pool = np.arange(values.size) % (n_pools + 1) - 1
    totals = arrays._exact_totals(values, pool, n_pools)
    for r in range(n_pools):
        assert totals[r] == sum(map(Fraction, values[pool == r].tolist()), Fraction(0))
    assert arrays.exact_total(values) == sum(map(Fraction, values.tolist()), Fraction(0))


@pytest.mark.parametrize("spread", [0, 3, 20, 280])
def test_long_sums_are_exact_however_far_apart_the_numbers(spread):
    # Several blocks; from 20 orders of magnitude on, high parts and rests do not hold them all.
    generator = np.random.default_rng(spread)
    values = generator.normal(size=5_000) * 10.0 ** generator.integers(-spread, spread + 1, 5_000)
    values[::3] = -values[1::3]
    values[4_096:] = 0.0
    assert arrays._exact_totals(values, None, 1) == [sum(map(Fraction, values.tolist()))]


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(1).uniform(1, 2, 4_096),
        np.full(4_097, np.nextafter(2.0, 0)),
        -np.full(2_049, np.nextafter(1.0, 2)),
        np.full(4_096, 2.0**-1074),
        np.concatenate([np.full(2_048, 1e290), np.full(2_048, -1e-270), [1.0]]),
    ],
    ids=["one sign", "just below two", "just above one", "least", "far apart"],
)
def test_long_sums_of_one_sign_are_exact(values):
    assert arrays._exact_totals(values, None, 1) == [sum(map(Fraction, values.tolist()))]
