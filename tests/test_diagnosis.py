"""Why limits exclude each other: irreducible conflicts, nearest values, least violation."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import every_routing

from dualroute.certificate import certify
from dualroute.diagnosis import diagnose, diagnosis_words, given_up_words, relax
from dualroute.errors import OptionError
from dualroute.formulation import Budget, Capacity, QualityFloor, formulate
from dualroute.instances import continuous
from dualroute.outcomes import Outcomes
from dualroute.problem import Prices
from dualroute.solver import Solution, SolveOptions, Status, Termination
from dualroute.solvers.lagrangian import Lagrangian
from dualroute.testing import known_problems, random_problem

# Small costs 1, large 4; upgrading queries 0, 1, 2 gains .3, .4, .7 over 1.3 in all.
PAIR = Outcomes.from_arrays(
    [[1, 4]] * 3, [[0.6, 0.9], [0.5, 0.9], [0.2, 0.9]], models=("small", "large")
)


def conflict(problem):
    found = diagnose(problem)
    return found, [(m.name, m.pool) for m in found.members]


def test_two_rooms_too_small_for_three_queries():
    problem = formulate(PAIR, minimize="cost", limits=[Capacity(1), Budget(100)])
    found, names = conflict(problem)
    assert names == [("capacity", "small"), ("capacity", "large")]
    assert found.irreducible
    # With one on the other model, two are left for this one.
    assert [(m.limit, m.attained, m.change) for m in found.members] == [(1, 2, 1)] * 2
    assert [m.bound for m in found.members] == pytest.approx([2, 2])
    assert diagnosis_words(found, 3) == [
        "These limits exclude each other; without any one of them the others can be kept: "
        "capacity small, capacity large.",
        "capacity small: 1 requests allowed; with all others kept 2 are needed: raise it by 1 "
        "requests",
        "capacity large: 1 requests allowed; with all others kept 2 are needed: raise it by 1 "
        "requests",
    ]


def test_only_the_budget_that_is_in_the_way_is_named():
    # A floor of 2.3 needs gains of 1.0, so two upgrades (cost 9); 100 is no hindrance, 6 is.
    limits = [Budget(100), QualityFloor(total=2.3), Budget(6)]
    found, names = conflict(formulate(PAIR, minimize="cost", limits=limits))
    assert names == [("quality_floor", ""), ("budget_2", "")]
    assert found.rows.tolist() == [1, 2]
    floor, budget = found.members
    # 6 buys the upgrade that gains .7.
    assert (floor.relation, floor.limit) == (">=", pytest.approx(2.3))
    assert floor.attained == pytest.approx(2.0)
    assert (budget.limit, budget.attained) == (6, 9)
    words = diagnosis_words(found, 3)
    assert "with all others kept 9 are needed: raise it by 3 cost" in words[2]
    assert "(0.666666 a query)" in words[1]  # rounded down, so that it can be asked for


def test_a_floor_above_the_best_stands_alone():
    problem = formulate(PAIR, minimize="cost", limits=[QualityFloor(total=2.8), Capacity(3)])
    found, names = conflict(problem)
    assert names == [("quality_floor", "")]
    assert found.members[0].attained == pytest.approx(2.7)
    assert diagnosis_words(found, 3)[0] == "No routing keeps this limit: quality_floor."


def test_a_conflict_beside_another():
    # Rooms for one each, and a floor above all models: either is a conflict by itself, so without
    # one member the other conflict is still there.
    limits = [Capacity(1), QualityFloor(total=2.8)]
    found, names = conflict(formulate(PAIR, minimize="cost", limits=limits))
    assert names in ([("capacity", "small"), ("capacity", "large")], [("quality_floor", "")])
    assert all(math.isnan(m.attained) and math.isnan(m.bound) for m in found.members)
    assert "exclude each other without it, too" in diagnosis_words(found, 3)[-1]


def test_only_whole_routings_are_excluded():
    known = next(k for k in known_problems() if k.name == "half a place each")
    found = diagnose(known.problem)
    assert found.ray is None
    assert len(found.members) == 3
    assert found.certificate.infeasible
    assert "Only whole routings are excluded" in diagnosis_words(found, 1)[1]


@given(seed=st.integers(0, 2**32 - 1), ties=st.booleans(), shrink=st.floats(0.1, 1.0))
@settings(max_examples=40, deadline=None)
def test_conflicts_are_irreducible_and_nearest_values_are_those_of_enumeration(seed, ties, shrink):
    problem = random_problem(seed, 5, 3, ties=ties)
    tight = tuple(
        replace(rows, limit=rows.limit - shrink * np.abs(rows.limit)) for rows in problem.rows
    )
    problem = replace(problem, rows=tight)
    routings = [r for r in every_routing(problem) if np.isfinite(problem.value(r))]
    beyond = np.array([problem.excess(r) for r in routings]) > problem.tolerance * np.abs(
        problem.limit
    )
    assume(beyond.any(axis=1).all())
    found = diagnose(problem, options=SolveOptions(time_limit=20))
    rows = found.rows
    assert beyond[:, rows].any(axis=1).all()
    if found.irreducible:
        for row in rows:
            assert (~beyond[:, rows[rows != row]].any(axis=1)).any()
    if found.ray is not None:
        assert set(np.flatnonzero(found.ray.vector)) == set(rows)
        claim = Solution(Status.INFEASIBLE, Termination.INFEASIBLE, ray=found.ray)
        assert certify(problem, claim).infeasible
    for row, member in zip(rows, found.members, strict=True):
        others = np.delete(np.arange(problem.n_rows), row)
        kept = [r for r, b in zip(routings, beyond, strict=True) if not b[others].any()]
        if not kept:
            assert math.isnan(member.attained)
            continue
        sense = -1.0 if member.relation == ">=" else 1.0
        nearest = min(problem.use(r)[row] for r in kept)
        assert member.attained == pytest.approx(sense * nearest, rel=1e-6, abs=1e-12)
        assert sense * member.bound <= nearest + 1e-9 * abs(nearest)


@given(seed=st.integers(0, 2**32 - 1), shrink=st.floats(0.05, 1.0))
@settings(max_examples=40, deadline=None)
def test_the_least_violation_is_that_of_enumeration(seed, shrink):
    problem = random_problem(seed, 5, 3)
    tight = tuple(
        replace(rows, limit=rows.limit - shrink * np.abs(rows.limit)) for rows in problem.rows
    )
    problem = replace(problem, rows=tight)
    found = relax(problem)
    least = min(
        float(found.weights @ np.maximum(problem.excess(r), 0.0))
        for r in every_routing(problem)
        if np.isfinite(problem.value(r))
    )
    assert found.bound <= least + 1e-9
    assert found.total == pytest.approx(least, rel=1e-6, abs=1e-8)
    assert found.widened.keeps_limits(found.assignment)
    # No limit is tightened, and only those given up are widened.
    moved = found.widened.limit - problem.limit
    assert ((moved > 0) == (found.violation > 0)).all()
    assert (moved[found.violation == 0] == 0).all()


def test_weights_decide_what_is_given_up():
    # Quality 2.0 costs 6, 2.3 asks for .3 more or a budget of 9.
    problem = formulate(PAIR, minimize="cost", limits=[Budget(6), QualityFloor(total=2.3)])
    dear = relax(problem, weights={"budget": 1.0, "quality_floor": 100.0})
    assert [(m.name, m.attained) for m in dear.given_up()] == [("budget", 9.0)]
    assert given_up_words(dear) == ["budget is raised by 3 cost, from 6 to 9"]
    cheap = relax(problem, weights={"budget": 1.0, "quality_floor": 1.0})
    assert [m.name for m in cheap.given_up()] == ["quality_floor"]
    assert given_up_words(cheap) == ["quality_floor is lowered by 0.3 quality, from 2.3 to 2"]
    assert cheap.total == pytest.approx(0.3)


def test_nothing_is_given_up_where_all_can_be_kept():
    problem = formulate(PAIR, minimize="cost", limits=[Budget(9), QualityFloor(total=2.3)])
    found = relax(problem)
    assert found.total == 0
    assert found.given_up() == ()
    assert given_up_words(found) == ["Every limit can be kept; nothing is given up."]
    with pytest.raises(OptionError, match="nothing to explain"):
        diagnose(problem)


def test_bad_weights_are_refused():
    problem = formulate(PAIR, minimize="cost", limits=[Budget(2)])
    with pytest.raises(OptionError, match="a weight for 'floor', and the limits are budget"):
        relax(problem, weights={"floor": 1.0})
    with pytest.raises(OptionError, match="the weight of 'budget' is 0"):
        relax(problem, weights={"budget": 0.0})


def test_weights_that_prove_nothing_are_not_believed():
    problem = formulate(PAIR, minimize="cost", limits=[Capacity(1), Budget(2)])
    wrong = Prices.of(problem, np.array([1.0, 0.0, 0.0]))
    found = diagnose(problem, ray=wrong)
    assert found.certificate.infeasible
    assert len(found.members) >= 1


def test_a_larger_table_in_a_limited_time():
    problem = continuous(5_000, 8, seed=2).problem
    tight = tuple(
        replace(rows, limit=0.6 * rows.limit) if rows.n_pools > 1 else rows for rows in problem.rows
    )
    problem = replace(problem, rows=tight)
    solution = Lagrangian().solve(problem, SolveOptions(20))
    assert solution.status is Status.INFEASIBLE
    found = diagnose(problem, ray=solution.ray, options=SolveOptions(20))
    # Eight rooms for 0.9 of all queries: all are needed, and each is short of the rest.
    assert len(found.members) == 8
    short = 5_000 - sum(math.floor(m.limit) for m in found.members)
    for member in found.members:
        assert member.attained == pytest.approx(math.floor(member.limit) + short)
