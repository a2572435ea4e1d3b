"""The rule and its regions: what is dropped is in no better routing, by whichever route."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import (
    SIZES,
    every_routing,
    exact_excess,
    exact_value,
    prices_for,
    small_problems,
)

from dualroute import problem as problem_module
from dualroute import region as region_module
from dualroute.instances import continuous
from dualroute.problem import Prices, RoutingProblem, Rows, allowed_pairs, lagrangian
from dualroute.region import Region, core_of
from dualroute.rigour import priced_below


def two_steps(region, pairs, vector, cutoff, ray):
    """What `settle` is by definition."""
    bound, left = region.apply(pairs, vector, cutoff, ray=ray)
    if left is None or left.sum() == pairs.sum():
        return bound, region, left
    return bound, *region.narrowed(left)


def assert_same(left, bound, region, pairs):
    assert left.bound == bound
    if pairs is None:
        assert left.pairs is None
        return
    assert left.pairs.tolist() == pairs.tolist()
    for name in ("queries", "settled", "models"):
        assert getattr(left.region, name).tolist() == getattr(region, name).tolist()
    assert left.region.limits == region.limits
    assert left.region.offset == region.offset
    assert left.region.problem.objective.tolist() == region.problem.objective.tolist()


@st.composite
def applied(draw, problem):
    """Prices or a ray, and a cutoff where some pairs stay and others go, all or none."""
    vector = draw(prices_for(problem)).vector
    vector = vector * draw(st.sampled_from([1.0, 1.0, 1.0, 1e-300, 1e201, 1e300]))
    with np.errstate(over="ignore", invalid="ignore"):
        value = lagrangian(problem, Prices(problem.split(vector))).value
    spread = float(np.ptp(problem.objective[np.isfinite(problem.objective)])) + 1e-9
    room = draw(st.sampled_from([-0.1, 1e-12, 0.05, 0.3, 1.0, 100.0])) * spread
    cutoff = value + room if math.isfinite(value) else room
    return vector, draw(st.sampled_from([cutoff, cutoff, math.inf])), draw(st.booleans())


@given(problem=small_problems(sizes=SIZES), data=st.data())
@settings(max_examples=200)
def test_compiled_or_not_the_rule_leaves_the_same(problem, data):
    # Many like queries, some of whose pairs are shut beforehand; held either way round.
    n = data.draw(st.sampled_from([problem.n_queries, 40]))
    problem = problem.take(np.resize(np.arange(problem.n_queries), n))
    if data.draw(st.booleans()):
        problem = replace(problem, objective=np.asfortranarray(problem.objective))
    if data.draw(st.booleans()):  # the same numbers, held as a floor holds them
        turned = (replace(rows, usage=-rows.usage, sign=-rows.sign) for rows in problem.rows)
        problem = replace(problem, rows=tuple(turned))
    vector, cutoff, ray = data.draw(applied(problem))
    pairs = allowed_pairs(problem)
    given_pairs = None
    if data.draw(st.booleans()):
        shut = data.draw(st.integers(0, problem.n_models - 1))
        some = pairs.copy()
        some[:: data.draw(st.integers(1, 3)), shut] = False
        given_pairs = pairs = some
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(problem_module, "_BLOCK", data.draw(st.sampled_from([7, 4096])))
        region = Region.whole(problem)
        expected = two_steps(region, pairs, vector, cutoff, ray)
        assert_same(region.settle(given_pairs, vector, cutoff, ray=ray), *expected)
        patched.setattr(region_module, "COMPILED_PAIRS", 0)
        left = region.settle(given_pairs, vector, cutoff, ray=ray)
    assert_same(left, *expected)
    kept = -1 if expected[2] is None else expected[2].sum() + expected[1].settled.size
    assert left.dropped == (kept < pairs.sum())


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_many_queries_are_settled_as_one_block_would(order, dtype):
    problem = continuous(9_000, 16, order=order, dtype=dtype).problem  # three blocks
    vector = np.r_[0.01, 1e-6 * np.arange(16)]
    low = priced_below(problem, Prices(problem.split(vector)))
    least = low.min(axis=1)
    bound = math.fsum(least) - float(vector @ problem.limit)
    whole, sizes = Region.whole(problem), []
    for room in (-1e-3, 1e-6, 1e-4, 1e-2, 1e3):
        left = whole.settle(None, vector, bound + room)
        assert_same(left, *two_steps(whole, allowed_pairs(problem), vector, bound + room, False))
        assert left.bound == pytest.approx(bound, rel=1e-13)
        if room > 0:
            near = low - least[:, None] <= bound + room - left.bound
            region, pairs = whole.narrowed(near)
            assert_same(left, left.bound, region, pairs)
            sizes.append(region.queries.size)
    assert sizes == sorted(sizes)
    assert sizes[0] < 4_500
    assert sizes[-1] == 9_000


@given(problem=small_problems(sizes=SIZES), data=st.data())
def test_no_routing_below_the_cutoff_uses_a_dropped_pair(problem, data):
    vector, cutoff, ray = data.draw(applied(problem))
    region = Region.whole(problem)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(region_module, "COMPILED_PAIRS", data.draw(st.sampled_from([0, 10**9])))
        left = region.settle(None, vector, cutoff, ray=ray)
    for routing in every_routing(problem):
        value = exact_value(problem, routing)
        if value is None or any(excess > 0 for excess in exact_excess(problem, routing)):
            continue
        assert left.bound == -math.inf or Fraction(left.bound) <= value
        if ray or cutoff == math.inf or value < Fraction(cutoff):
            assert left.pairs is not None
            assert left.pairs[np.arange(routing.size), routing].all()


def test_a_core_by_hand():
    # At price 0.1 per USD the upgrades 1 -> 4 USD gain 0.3, 0.4 and 0.7 for 0.3 charged: regrets
    # 0, 0.1 and 0.4 of what is not chosen. The bound is -(0.6 + 0.6 + 0.6) + 0.1 * ... per query
    # min(-q + 0.1 cost): -0.5, -0.5, -0.5, less 0.1 * 9 held: -2.4.
    budget = Rows("budget", np.array([[1.0, 4.0]]), np.array([9.0]))
    quality = np.array([[0.6, 0.9], [0.5, 0.9], [0.2, 0.9]])
    problem = RoutingProblem(-quality, (budget,), tolerance=0.0)
    prices = Prices((np.array([0.1]),))
    assert core_of(problem, [prices], -2.4 - 1e-9) is None
    region, pairs = core_of(problem, [prices], -2.35)
    assert region.queries.tolist() == [0]  # both its pairs cost the same
    assert pairs.tolist() == [[True, True]]
    assert region.routing(np.array([0])).tolist() == [0, 1, 1]
    assert float(region.offset) == pytest.approx(-1.8)
    assert [float(limit) for limit in region.limits] == pytest.approx([1.0])
    region, pairs = core_of(problem, [], -2.35)
    assert region.queries.tolist() == [0, 1, 2]
    assert pairs.all()
