import json

import numpy as np
import pytest

from dualroute import (
    Budget,
    Capacity,
    OptionError,
    Outcomes,
    Prices,
    QualityFloor,
    RoutingError,
    SolveOptions,
    TableError,
    read_limits,
    route,
    solve,
    verify,
)

COST = [[1.0, 4.0]] * 3
QUALITY = [[0.6, 0.9], [0.5, 0.9], [0.2, 0.9]]
OUTCOMES = Outcomes.from_arrays(COST, QUALITY, ["small", "large"])


def test_a_plan_reads_in_the_users_sense():
    plan = solve(OUTCOMES, maximize="quality", limits=[Budget(9)])
    assert plan.routed.tolist() == ["small", "large", "large"]
    assert plan.objective == pytest.approx(2.4)
    assert plan.certified_bound >= plan.objective  # maximised: a bound from above
    assert plan.status == "optimal"
    assert plan.answered
    (line,) = plan.limits()
    assert (line.relation, line.use, line.limit, line.kept) == ("<=", 9.0, 9.0, True)


def test_a_floor_reads_as_at_least():
    plan = solve(OUTCOMES, minimize="cost", limits=[QualityFloor(total=2.0)])
    # All small gives 1.3; c alone adds .7 and makes 2.0.
    assert plan.routed.tolist() == ["small", "small", "large"]
    (line,) = plan.limits()
    assert line.relation == ">="
    assert line.use == pytest.approx(2.0)
    assert line.limit == 2.0
    assert line.kept


def test_a_mean_of_1965_of_2119_is_reached_by_1965():
    right = np.zeros((2119, 1))
    right[:1965] = 1
    plan = solve(
        Outcomes.from_arrays(np.ones((2119, 1)), right),
        minimize="cost",
        limits=[QualityFloor(mean=1965 / 2119)],
    )
    assert plan.certificate.feasible
    short = solve(
        Outcomes.from_arrays(np.ones((2119, 1)), right),
        minimize="cost",
        limits=[QualityFloor(mean=1966 / 2119)],
    )
    assert short.certificate.infeasible


@pytest.mark.parametrize("solver", ["highs", "lagrangian"])
def test_ten_tenths_reach_one(solver):
    # The doubles nearest 0.1 add up to 0.9999999999999999 in a running sum.
    outcomes = Outcomes.from_arrays(np.ones((10, 1)), np.full((10, 1), 0.1))
    plan = solve(outcomes, minimize="cost", limits=[QualityFloor(total=1.0)], solver=solver)
    assert plan.certificate.feasible


def test_solvers_without_prices_get_the_native_bound():
    plan = solve(OUTCOMES, maximize="quality", limits=[Budget(9)], solver="greedy")
    assert plan.bound_by == "lagrangian"
    assert plan.solution.solver == "greedy"
    assert plan.certified_bound == pytest.approx(2.4)


def test_verify_takes_a_routing_and_prices_from_anywhere():
    # Any prices prove something: at 0.1 per USD the bound is 9 * 0.1 + .5 + .5 + .5.
    prices = Prices((np.array([0.1]),))
    plan = verify(OUTCOMES, np.array([0, 0, 1]), prices=prices, maximize="quality",
                  limits=[Budget(9)])  # fmt: skip
    assert plan.certified_bound == pytest.approx(2.4)
    assert plan.objective == pytest.approx(2.0)
    assert plan.bound_by == "given"
    assert plan.status == "feasible"


def test_no_routing_has_no_routed():
    plan = solve(OUTCOMES, minimize="cost", limits=[Capacity(1)])
    assert plan.status == "infeasible"
    assert plan.answered
    with pytest.raises(RoutingError, match="infeasible, proved"):
        _ = plan.routed


def test_json_has_no_infinities():
    for limits in ([Budget(9)], [Capacity(1)], []):
        plan = solve(OUTCOMES, minimize="cost", limits=limits, solver="greedy")
        json.dumps(plan.to_dict(), allow_nan=False)


def test_route_uses_the_historys_texts():
    history = Outcomes.from_arrays(
        [[1, 4], [1, 4]],
        [[1, 1], [0, 1]],
        ["small", "large"],
        attributes={"text": ["add two numbers", "prove the theorem"]},
    )
    plan = route(["prove the theorem", "add two numbers"], history, maximize="quality",
                 limits=[Capacity(1)], queries=np.array(["t", "n"]),
                 predictor="retrieval")  # fmt: skip
    assert plan.routed.tolist() == ["large", "small"]
    assert plan.outcomes.queries.tolist() == ["t", "n"]


def test_options_of_solvers_are_checked():
    with pytest.raises(TypeError):
        SolveOptions(speed=1)
    with pytest.raises(OptionError, match="no solver 'oracle'"):
        solve(OUTCOMES, minimize="cost", solver="oracle")


def test_limits_file(tmp_path):
    path = tmp_path / "limits.toml"
    path.write_text(
        '[[limit]]\ntype = "budget"\ntotal = 9\n'
        '[[limit]]\ntype = "capacity"\nlimit = { large = 2 }\n'
    )
    assert read_limits(path) == (Budget(9), Capacity({"large": 2}))
    path.write_text('[[limit]]\ntype = "budget"\ntotal = -9\n')
    with pytest.raises(TableError, match=r"limits\.toml, limit 1: Budget total is -9"):
        read_limits(path)
