"""Looks: what they prove, and that few queries seen between two of them prove the same."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import mixed_problem

from dualroute.instances import continuous
from dualroute.looks import look_between, looks_at
from dualroute.parametric import Routed
from dualroute.problem import Prices, RoutingProblem, Rows, allowed_pairs, price_pairs
from dualroute.rigour import cheapest_total

SEEDS = st.integers(0, 2**32 - 1)


def exactly_priced(problem, prices):
    """Every pair at its priced cost in rational numbers, None where it is forbidden."""
    n, m = problem.objective.shape
    grid = [[None] * m for _ in range(n)]
    vectors = [[*map(Fraction, price.tolist()), Fraction(0)] for price in prices.values]
    families = [
        (np.broadcast_to(rows.signed(rows.usage), (n, m)), np.broadcast_to(rows.pool, (n, m)))
        for rows in problem.rows
    ]
    for i, j in np.argwhere(np.isfinite(problem.objective)).tolist():
        cost = Fraction(float(problem.objective[i, j]))
        for vector, (usage, pool) in zip(vectors, families, strict=True):
            cost += vector[pool[i, j]] * Fraction(float(usage[i, j]))
        grid[i][j] = cost
    return grid


@given(seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_a_look_proves_what_single_passes_prove_and_adds_up_exactly(seed):
    problem, prices = mixed_problem(seed)
    several = [prices, Prices.of(problem, 0 * prices.vector), Prices.of(problem, prices.vector / 3)]
    lines = range(problem.n_queries)
    for each, look in zip(several, looks_at(problem, several), strict=True):
        assert look.total == cheapest_total(problem, each)
        paid = [Fraction(float(problem.objective[i, look.chosen[i]])) for i in lines]
        assert look.sums[0] == sum(paid)
        np.testing.assert_array_equal([float(u) for u in look.sums[1:]], problem.use(look.chosen))
        priced = price_pairs(problem, each)
        np.testing.assert_allclose(priced[lines, look.chosen], priced.min(axis=1), atol=1e-12)
        moved = look.chosen.astype(np.intp)
        moved[::7] = allowed_pairs(problem)[::7].argmax(axis=1)  # the first that is allowed
        near, afresh = Routed.near(problem, look, moved), Routed.of(problem, moved)
        assert (near.value, near.use) == (afresh.value, afresh.use)


@given(
    seed=SEEDS,
    step=st.sampled_from([0.0, 1e-9, 0.01, 0.1]),
    weight=st.floats(-0.2, 1.2),
    aside=st.sampled_from([0.0, 1e-12, 1e-3, 0.02]),
)
@settings(max_examples=80, deadline=None)
def test_a_look_between_two_is_a_look(seed, step, weight, aside):
    problem, first = mixed_problem(seed, n=60)
    draw = np.random.default_rng(seed + 1)
    away = first.vector * (1 + step * draw.uniform(-1, 1, problem.n_rows))
    ends = looks_at(problem, [first, Prices.of(problem, away)])
    # Two steps: what was seen between is an end itself the second time.
    for weight_here in (weight, 0.7 * weight):
        vector = weight_here * first.vector + (1 - weight_here) * ends[-1].prices.vector
        vector += aside * draw.uniform(-1, 1, problem.n_rows) * first.vector
        prices = Prices.of(problem, vector)
        found = look_between(problem, ends, prices)
        if found is None:
            return
        whole = looks_at(problem, [prices])[0]
        priced = exactly_priced(problem, prices)
        cheapest = [min(cost for cost in line if cost is not None) for line in priced]
        assert whole.total <= found.total <= sum(cheapest)
        chosen = [line[j] for line, j in zip(priced, found.chosen.tolist(), strict=True)]
        off = [float(cost - least) for cost, least in zip(chosen, cheapest, strict=True)]
        assert max(off) < 1e-12
        afresh = Routed.of(problem, found.chosen.astype(np.intp))
        assert found.sums == (afresh.value, *afresh.use)
        # Leads are no larger than they are, but for their 24 bits.
        for line, j, lead in zip(priced, found.chosen.tolist(), found.lead.tolist(), strict=True):
            others = [cost for k, cost in enumerate(line) if cost is not None and k != j]
            assert not others or lead <= float(min(others) - line[j]) * (1 + 1e-6) + 1e-12
        ends = [ends[0], found, ends[-1]]


def test_between_near_looks_few_queries_are_seen_again():
    problem = continuous(20_000, 8, 3).problem
    draw = np.random.default_rng(0)
    first = Prices.of(problem, draw.uniform(0, 2, problem.n_rows) / problem.row_size)
    second = Prices.of(problem, 1.05 * first.vector)
    ends = looks_at(problem, [first, second])
    found = look_between(problem, ends, Prices.of(problem, 1.02 * first.vector))
    differing = np.mean(ends[0].chosen != ends[1].chosen)
    assert differing <= found.share < differing + 0.01
    assert found.total >= cheapest_total(problem, found.prices)


def test_far_from_both_looks_all_have_to_be_seen():
    problem = continuous(2_000, 4, 3).problem
    prices = Prices.of(problem, 1 / problem.row_size)
    ends = looks_at(problem, [prices, Prices.of(problem, 1.01 * prices.vector)])
    assert look_between(problem, ends, Prices.of(problem, 100 * prices.vector)) is None
    assert look_between(problem, ends, Prices.of(problem, 1e250 * prices.vector)) is None


@given(seed=SEEDS)
@settings(max_examples=60, deadline=None)
def test_prices_part_two_models_by_no_more_than_is_said(seed):
    draw = np.random.default_rng(seed)
    n, m, r = 8, 4, int(draw.integers(1, 4))
    shape = draw.choice([1, n]), draw.choice([1, m])
    pool = draw.integers(draw.choice([-1, 0]), r, (draw.choice([1, n]), draw.choice([1, m])))
    rows = Rows("any", draw.integers(-3, 4, shape), np.ones(r), pool)
    problem = RoutingProblem(np.zeros((n, m)), (rows,))
    moved = draw.uniform(0, 1, r)
    charges = np.broadcast_to(rows.charge(moved * draw.choice([-1, 1], r)), (n, m))
    assert np.ptp(charges, axis=1).max() <= problem.parting(moved) + 1e-12


def test_the_most_that_prices_part_two_models_by_is_reached():
    rows = Rows("signed", np.array([[-2.0, 3.0]]), np.ones(1), np.array([[0, 0]]))
    assert RoutingProblem(np.zeros((1, 2)), (rows,)).parting(np.array([0.5])) == pytest.approx(2.5)
    rows = Rows("two", np.array([[2.0, 3.0]]), np.ones(2), np.array([[0, 1]]))
    problem = RoutingProblem(np.zeros((1, 2)), (rows,))
    assert problem.parting(np.array([0.5, 0.25])) == pytest.approx(2.25)  # at most 3 each
