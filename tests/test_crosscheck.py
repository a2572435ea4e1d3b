"""A second opinion on a plan: agreement, disagreement, and what is left open."""

import math
import re
from dataclasses import dataclass

import numpy as np
import pytest

from dualroute import Budget, Capacity, Outcomes, QualityFloor, cross_check, solve, verify
from dualroute.solver import Solution, Status, Termination

# Small costs 1, large 4; upgrading queries 0, 1, 2 gains .3, .4, .7 over 1.3 in all. A floor of
# 1.95 is met by the last upgrade alone, at cost 6.
PAIR = Outcomes.from_arrays([[1, 4]] * 3, [[0.6, 0.9], [0.5, 0.9], [0.2, 0.9]])
FLOOR = {"minimize": "cost", "limits": [QualityFloor(total=1.95)]}


@pytest.mark.parametrize("solver", ["highs", "ortools:scip", "lagrangian"])
def test_an_optimum_is_agreed_on(solver):
    plan = verify(PAIR, [0, 0, 1], **FLOOR)
    opinion = cross_check(plan, solver)
    assert opinion.agrees is True
    assert opinion.words.startswith(f"{solver} agrees: nothing is better")
    assert opinion.plan.objective == plan.objective == 6.0


def test_a_better_routing_is_told_with_how_much():
    # Two upgrades (cost 9) keep the floor too.
    opinion = cross_check(verify(PAIR, [0, 1, 1], **FLOOR), "highs")
    assert opinion.agrees is False
    assert opinion.words == "highs finds one better by 3 cost (33.33 %)"
    assert opinion.to_dict()["plan"]["objective"] == 6.0


def test_a_broken_routing_is_told_what_keeps_the_limits():
    opinion = cross_check(verify(PAIR, [0, 0, 0], **FLOOR), "highs")
    assert opinion.agrees is False
    assert opinion.words == "highs finds a routing that keeps every limit: 6"


def test_both_find_nothing():
    plan = solve(PAIR, maximize="quality", limits=[Budget(2)])
    opinion = cross_check(plan, "highs")
    assert opinion.agrees is True
    assert opinion.words == "highs says that no routing keeps the limits"


@dataclass(frozen=True)
class Says:
    solution: Solution

    def solve(self, problem, options):
        return self.solution


def test_what_a_solver_leaves_open_is_no_agreement():
    plan = verify(PAIR, [0, 0, 1], **FLOOR)
    shy = Solution(Status.UNKNOWN, Termination.TIME_LIMIT, best_bound=3.0, solver="shy")
    opinion = cross_check(plan, Says(shy))
    assert opinion.agrees is None
    # Its own bound leaves half open, prices of the native dual less.
    left = re.fullmatch(
        r"shy finds nothing better and leaves (\S+) of the objective open", opinion.words
    )
    assert 0.03 < float(left[1]) < 0.5
    wrong = Solution(Status.INFEASIBLE, Termination.INFEASIBLE, best_bound=math.inf, solver="w")
    opinion = cross_check(plan, Says(wrong))
    assert opinion.agrees is False
    assert opinion.words == "w says that no routing keeps the limits"


def test_the_costliest_choices_add_up_to_the_gap():
    draw = np.random.default_rng(2)
    table = Outcomes.from_arrays(draw.random((20, 3)) * [1, 3, 5], np.sort(draw.random((20, 3))))
    limits = [Capacity(8), QualityFloor(mean=0.4)]
    routed = np.arange(20) % 3
    plan = verify(table, routed, minimize="cost", limits=limits)
    lines = plan.costliest(100)
    assert [line.regret for line in lines] == sorted((x.regret for x in lines), reverse=True)
    assert math.fsum(line.regret for line in lines) == pytest.approx(plan.certificate.regret)
    assert plan.certificate.regret + plan.certificate.idle == pytest.approx(plan.certificate.gap)
    assert len(plan.costliest(3)) == 3
    for line in lines:
        assert line.model == f"m{routed[int(line.query)]}"
        assert line.better != line.model
    # Without limits every query is on its cheapest model.
    assert solve(PAIR, minimize="cost", limits=[]).costliest() == ()
