"""Looks: what they prove, and that few queries seen between two of them prove the same."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import mixed_problem

from dualroute import ProblemError, sweep
from dualroute.instances import continuous
from dualroute.looks import look_between, looks_at
from dualroute.parametric import Routed
from dualroute.problem import Prices, RoutingProblem, Rows, allowed_pairs, price_pairs
from dualroute.rigour import cheapest_total

SEEDS = st.integers(0, 2**32 - 1)


def rough_problem(seed, n=40, m=4):
    """Few kinds of queries, of numbers that are equal, or nearly, or far apart; any signs."""
    draw = np.random.default_rng(seed)
    kinds = int(draw.integers(1, n))
    kind = draw.integers(0, kinds, n)

    def grid(rows, columns):
        form, shape = draw.integers(0, 4), (kinds if rows > 1 else 1, columns)
        if form == 0:
            numbers = draw.integers(-3, 4, shape) / 8
        elif form == 1:
            numbers = 1 + draw.integers(-2, 3, shape) * 2.0 ** -draw.integers(20, 53)
        elif form == 2:
            numbers = draw.normal(size=shape) * 10.0 ** draw.integers(-8, 9, shape)
        else:
            numbers = draw.choice([0.1, 0.2, 0.3, -0.1, 1 / 3], shape)
        return numbers[kind] if rows > 1 else numbers

    objective = np.array(grid(n, m))
    objective[(draw.random((kinds, m)) < 0.2)[kind]] = np.inf
    objective[:, 0] = draw.choice([0.1, 1.0])
    families = []
    for name in ("one", "two", "three")[: draw.integers(1, 4)]:
        shape = draw.choice([1, n]), draw.choice([1, m])
        pool = draw.integers(draw.choice([-1, 0]), 2, (1, draw.choice([1, m])))
        sign = draw.choice([1.0, -1.0])
        families.append(Rows(name, grid(*shape), np.ones(2), pool, sign=sign))
    problem = RoutingProblem(objective, tuple(families))
    vector = draw.exponential(1, problem.n_rows) * 10.0 ** draw.integers(-3, 4, problem.n_rows)
    return problem, Prices.of(problem, np.where(draw.random(vector.size) < 0.3, 0, vector))


def width(problem, prices):
    """More than rounding may move a pair by."""
    size = max(problem.largest, -problem.smallest)
    for rows, price in zip(problem.rows, prices.values, strict=True):
        size += price.max() * max(rows.largest, -rows.smallest)
    return 1e-14 * size + 1e-300


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
    make=st.sampled_from([mixed_problem, rough_problem]),
    compiled=st.booleans(),
    seed=SEEDS,
    step=st.sampled_from([0.0, 1e-16, 1e-9, 0.01, 0.1]),
    weight=st.one_of(st.floats(-0.2, 1.2), st.sampled_from([0.0, 1.0, 1 - 1e-12])),
    aside=st.sampled_from([0.0, 1e-16, 1e-12, 1e-3, 0.02]),
)
@settings(max_examples=200, deadline=None)
def test_a_look_between_two_is_a_look(make, compiled, seed, step, weight, aside):
    problem, first = make(seed, n=40)
    draw = np.random.default_rng(seed + 1)
    away = first.vector * (1 + step * draw.uniform(-1, 1, problem.n_rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "COMPILED_PAIRS", 1 if compiled else 10**9)
        looks = looks_at(problem, [first, Prices.of(problem, away)])
        # Two steps: what was seen between is an end itself the second time.
        for weight_here in (weight, 0.7 * weight):
            vector = weight_here * first.vector + (1 - weight_here) * looks[-1].prices.vector
            vector += aside * draw.uniform(-1, 1, problem.n_rows) * first.vector
            found = look_between(problem, looks, Prices.of(problem, vector))
            if found is None:
                return
            check(problem, looks, found)
            looks = [looks[0], found, looks[-1]]


def check(problem, looks, found):
    """Whether a look between others tells the truth, in rational numbers."""
    whole = looks_at(problem, [found.prices])[0]
    priced = exactly_priced(problem, found.prices)
    cheapest = [min(cost for cost in line if cost is not None) for line in priced]
    assert whole.total <= found.total <= sum(cheapest)
    afresh = Routed.of(problem, found.chosen.astype(np.intp))
    assert found.sums == (afresh.value, *afresh.use)
    off = max(width(problem, look.prices) for look in [*looks, found])
    for line, least, j, lead in zip(
        priced, cheapest, found.chosen.tolist(), found.lead.tolist(), strict=True
    ):
        assert line[j] - least <= off
        # Leads are no larger than they are, but for their 24 bits.
        others = [cost for k, cost in enumerate(line) if cost is not None and k != j]
        assert not others or lead <= float(min(others) - line[j]) * (1 + 1e-6) + off


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


def test_leads_beyond_what_32_bits_hold_settle_nothing():
    # At no price the second model is dearer by 1e50; at 1e51 it is the cheaper one.
    rows = Rows("b", np.array([[1.0, 0.0]] * 9), np.ones(1))
    for dear, price in ((1e50, 1e51), (0.75e-45, 1e-45)):
        problem = RoutingProblem(np.array([[0.0, dear]] * 9), (rows,))
        nothing = Prices.of(problem, np.zeros(1))
        looks = looks_at(problem, [nothing, nothing])
        found = look_between(problem, looks, Prices.of(problem, np.array([price])))
        assert found is None or found.total <= 9 * Fraction(min(dear, price))


def test_leads_that_24_bits_round_up_settle_nothing():
    # The second model is dearer by 1 + 3/4 ulp of 32 bits, and cheaper from that price on.
    ulp = 2.0**-23
    rows = Rows("b", np.array([[1.0, 0.0]] * 1000), np.ones(1))
    problem = RoutingProblem(np.array([[0.0, 1 + 0.75 * ulp]] * 1000), (rows,))
    nothing = Prices.of(problem, np.zeros(1))
    looks = looks_at(problem, [nothing, nothing])
    assert looks[0].lead[0] == 1 + ulp
    found = look_between(problem, looks, Prices.of(problem, np.array([1 + 0.9 * ulp])))
    assert found is None or found.total <= 1000 * Fraction(1 + 0.75 * ulp)


def test_models_that_only_rounding_ties_settle_nothing():
    # Beside a charge of 1, costs of 2**-60 and 2**-59 are one number in doubles.
    n = 100_000
    rows = Rows("b", np.ones((n, 1)), np.ones(1))
    problem = RoutingProblem(np.array([[2.0**-59, 2.0**-60]] * n), (rows,))
    prices = Prices.of(problem, np.ones(1))
    looks = looks_at(problem, [prices, prices])
    assert looks[0].chosen[0] == 0
    found = look_between(problem, looks, prices)
    assert found is None or found.total <= n * (1 + Fraction(2.0**-60))


def test_prices_that_leave_the_range_of_doubles_are_refused():
    rows = Rows("b", np.array([[1e100, -1e100]]), np.ones(1))
    problem = RoutingProblem(np.array([[np.inf, 0.0]]), (rows,))
    with pytest.raises(ProblemError, match="above 1e"):
        looks_at(problem, [Prices.of(problem, np.array([1e250]))])


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
