import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from dualroute import Capacity, Outcomes, QualityFloor
from dualroute.formulation import formulate
from dualroute.problem import Prices, lagrangian
from dualroute.relaxation import Relaxation
from dualroute.solver import Clock

SEEDS = st.integers(0, 10**6)
NO_HURRY = Clock(math.inf)


def drawn(seed, n=12, m=3):
    draw = np.random.default_rng(seed)
    outcomes = Outcomes.from_arrays(
        draw.integers(1, 30, (n, m)) / 10 * np.array([1, 2, 4])[:m], draw.random((n, m))
    )
    limits = [QualityFloor(mean=0.5), Capacity({f"m{j}": 1.0 for j in range(m)})]
    return draw, formulate(outcomes, minimize="cost", limits=limits)


def as_program(problem, limit, rent=None):
    """The same by scipy: shares of every pair, and what is rented of each limit."""
    n, m = problem.objective.shape
    pairs = np.eye(n * m).reshape(n * m, n, m)
    rows = []
    for family in problem.rows:
        usage = np.broadcast_to(family.signed(family.usage), (n, m))
        pool = np.broadcast_to(family.pool, (n, m))
        rows += [(pairs * (usage * (pool == k))).sum((1, 2)) for k in range(family.n_pools)]
    cost = problem.objective.ravel().astype(float)
    cost = np.concatenate([cost, np.zeros(limit.size) if rent is None else rent])
    most = 0.0 if rent is None else None
    return linprog(
        cost,
        A_ub=np.hstack([np.array(rows), -np.eye(limit.size)]),
        b_ub=limit,
        A_eq=np.hstack([np.kron(np.eye(n), np.ones(m)), np.zeros((n, limit.size))]),
        b_eq=np.ones(n),
        bounds=[(0, None)] * (n * m) + [(0, most)] * limit.size,
    )


def rounding(problem, limit, prices):
    """How far sums in doubles may be off at such prices; high ones are what limits that hardly
    can be kept ask for."""
    sizes = np.abs(limit) + problem.n_queries * problem.row_size
    return 1e-9 + 1e-14 * float(prices @ sizes)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_any_limits_are_answered_as_by_a_linear_program(seed):
    draw, problem = drawn(seed)
    relaxation = Relaxation(problem)
    for _ in range(6):
        limit = problem.limit
        limit[0] *= draw.uniform(0.8, 1.3)  # minus what the qualities shall add up to
        limit[1:] = draw.integers(0, 9, limit.size - 1)
        found, program = relaxation.at(limit, 1e-7, NO_HURRY), as_program(problem, limit)
        if program.status == 2:
            assert found.ray is not None
            keeping = problem.with_limit(limit).without_objective()
            assert lagrangian(keeping, Prices.of(keeping, found.ray)).value > 0
        else:
            assert found.lower <= program.fun + rounding(problem, limit, found.prices)
            assert found.lower == pytest.approx(program.fun, abs=1e-5)
            assert found.upper == pytest.approx(program.fun, abs=1e-5)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_what_may_be_rented_is_never_refused(seed):
    draw, problem = drawn(seed)
    relaxation = Relaxation(problem)
    limit = problem.limit
    limit[1:] = draw.integers(0, 4, limit.size - 1)
    rent = draw.uniform(0.1, 20.0, limit.size)
    found, program = relaxation.at(limit, 1e-7, NO_HURRY, rent), as_program(problem, limit, rent)
    assert found.ray is None
    assert found.lower == pytest.approx(program.fun, abs=1e-5)
    assert (found.prices <= rent * (1 + 1e-5)).all()


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
def test_what_one_limit_taught_bounds_all_others(seed):
    draw, problem = drawn(seed)
    relaxation = Relaxation(problem)
    for _ in range(3):
        limit = problem.limit
        limit[1:] = draw.integers(3, 9, limit.size - 1)
        relaxation.at(limit, 1e-3, NO_HURRY)
    other = problem.limit
    other[1:] = draw.integers(3, 9, other.size - 1)
    program = as_program(problem, other)
    value, prices = relaxation.best(other)
    off = rounding(problem, other, prices)
    assert value == pytest.approx(
        lagrangian(problem.with_limit(other), Prices.of(problem, prices)).value, abs=off
    )
    assert program.status == 2 or value <= program.fun + off


def test_limits_that_were_asked_for_cost_no_further_pass():
    _, problem = drawn(5, n=3000)
    relaxation = Relaxation(problem)
    limit = problem.limit
    limit[1:] = 1200
    first = relaxation.at(limit, 1e-4 * relaxation.size, NO_HURRY)
    passes = relaxation.passes
    again = relaxation.at(limit, 1e-4 * relaxation.size, NO_HURRY)
    assert relaxation.passes == passes
    assert (again.lower, again.upper) == (first.lower, first.upper)
    # Near to them, planes and curvature are nearly right.
    limit[1:] = 1190
    relaxation.at(limit, 1e-4 * relaxation.size, NO_HURRY)
    assert relaxation.passes <= passes + 4


def test_time_that_is_up_leaves_a_bound():
    _, problem = drawn(5, n=300)
    limit = problem.limit
    limit[1:] = 120
    found = Relaxation(problem).at(limit, 0.0, Clock(1e-9))
    assert math.isfinite(found.lower)
    assert found.lower <= as_program(problem, limit).fun
