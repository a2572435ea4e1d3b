import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as with_settings
from hypothesis import strategies as st
from strategies import every_feasible_routing, small_outcomes

from dualroute import (
    Budget,
    Capacity,
    MetricCap,
    MinShare,
    OptionError,
    Outcomes,
    ProblemError,
    QualityFloor,
    RoutingError,
    SolveOptions,
    TableError,
    formulate,
    solve,
)
from dualroute.cli import main
from dualroute.frontier import frontier, parse_sweep
from dualroute.frontierreport import frontier_report, plot_frontier
from dualroute.instances import continuous
from dualroute.report import print_report

OUTCOMES = Outcomes.from_arrays(
    [[1.0, 4.0]] * 3, [[0.6, 0.9], [0.5, 0.9], [0.2, 0.9]], ["small", "large"]
)
EXACT = SolveOptions()


def points_of(outcomes, **asked):
    return frontier(outcomes, options=EXACT, **asked).points


def test_each_three_dollars_buy_an_upgrade():
    # All small: 3 USD and 1.3. Upgrades cost 3 each and gain .7, .4, .3.
    values = [2, 3, 5, 6, 9, 12, 50]
    points = points_of(OUTCOMES, sweep="budget", maximize="quality", points=values)
    assert [point.value for point in points] == values
    assert points[0].status == "infeasible"
    assert math.isnan(points[0].objective)
    reached = [point.objective for point in points[1:]]
    assert reached == pytest.approx([1.3, 1.3, 2.0, 2.4, 2.7, 2.7])
    assert all(point.status == "optimal" for point in points[1:])
    assert [point.mean_cost for point in points[1:]] == pytest.approx([1, 1, 2, 3, 4, 4])
    assert points[-1].price == 0


def test_the_range_is_from_what_can_be_kept_to_where_the_limit_stops_binding():
    points = points_of(OUTCOMES, sweep="budget", maximize="quality", points=4)
    assert [point.value for point in points] == pytest.approx([3, 6, 9, 12])
    # Of a floor the tightest is the highest: everything on large.
    floors = points_of(OUTCOMES, sweep="quality_floor", minimize="cost", points=3)
    assert floors[0].value == pytest.approx(0.9, abs=1e-4)
    assert floors[0].objective == pytest.approx(12)
    assert floors[-1].value == pytest.approx(1.3 / 3, abs=1e-4)
    assert floors[-1].objective == pytest.approx(3)


def test_capacities_are_swept_in_whole_requests():
    # Three queries on two models: with the same capacity for both, 2 is the least.
    points = points_of(OUTCOMES, sweep="capacity", maximize="quality", points=9)
    assert [point.value for point in points] == [2, 3]
    assert [point.objective for point in points] == pytest.approx([2.4, 2.7])
    one = points_of(OUTCOMES, sweep="capacity:large", maximize="quality", points=4)
    assert [point.value for point in one] == [0, 1, 2, 3]
    assert [point.objective for point in one] == pytest.approx([1.3, 2.0, 2.4, 2.7])


def test_other_limits_stay():
    points = points_of(
        OUTCOMES, sweep=Budget(0), maximize="quality", points=[12], limits=[Capacity({"large": 1})]
    )
    assert points[0].objective == pytest.approx(2.0)
    assert points[0].price == 0


def test_points_between_are_filled_where_nothing_is_left_to_solve():
    # Every query gains the same by the same price: the frontier is a line, and a few points tell.
    alike = Outcomes.from_arrays(np.tile([1.0, 2.0], (1000, 1)), np.tile([0.2, 0.7], (1000, 1)))
    swept = frontier(alike, sweep="budget", maximize="quality", points=11)
    assert [point.solved for point in swept.points].count(True) <= 4
    assert swept.largest_gap <= 1e-4
    for point in swept.points:
        assert point.objective == pytest.approx(200 + 0.5 * (point.value - 1000))
        assert point.mean_cost <= point.value / 1000 + 1e-9
    assert swept.passes > 0


@with_settings(max_examples=40)
@given(outcomes=small_outcomes(), data=st.data())
def test_every_point_holds_what_enumeration_finds(outcomes, data):
    kinds = [Budget(1.0), QualityFloor(mean=1.0), Capacity(1.0), MetricCap("latency", mean=1.0)]
    sweep = data.draw(st.sampled_from(kinds))
    largest = 1.0 if isinstance(sweep, QualityFloor) else 6.0
    values = data.draw(st.lists(st.floats(0, largest, allow_subnormal=False), min_size=1,
                                max_size=4, unique=True))  # fmt: skip
    others = data.draw(st.sampled_from([[], [Capacity(3.0)], [Budget(0.02)]]))
    goal = data.draw(st.sampled_from([{"minimize": "cost"}, {"maximize": "quality"}]))
    swept = frontier(outcomes, sweep=sweep, points=values, limits=others, **goal)
    sign = -1.0 if "maximize" in goal else 1.0
    last = math.inf
    for point in swept.points:
        made = {
            Budget: lambda v: Budget(v),
            QualityFloor: lambda v: QualityFloor(mean=v),
            Capacity: lambda v: Capacity(v),
            MetricCap: lambda v: MetricCap("latency", mean=v),
        }[type(sweep)](point.value)
        problem = formulate(outcomes, limits=[*others, made], **goal)
        best = min((problem.value(r) for r in every_feasible_routing(problem)), default=math.inf)
        bound, objective = sign * point.certified_bound, sign * point.objective
        room = 1e-9 * (1 + abs(best)) if math.isfinite(best) else 0.0
        if point.status == "infeasible":
            assert best == math.inf
            continue
        if best == math.inf:
            assert math.isnan(point.objective)
            continue
        assert bound <= best + room
        if not math.isnan(objective):
            assert objective >= best - room
            assert objective - bound <= 1e-4 * abs(objective) + room
            assert objective <= last + room  # a looser limit is never worse
            last = objective


def test_a_long_sweep_agrees_with_single_solves():
    rng = np.random.default_rng(0)
    cost = rng.lognormal(size=(400, 4)) * [1, 2, 4, 8]
    quality = np.clip(rng.normal([0.5, 0.6, 0.7, 0.8], 0.15, (400, 4)), 0, 1)
    outcomes = Outcomes.from_arrays(cost, quality)
    told = []
    options = SolveOptions(mip_rel_gap=1e-3)
    swept = frontier(
        outcomes, sweep="quality_floor", minimize="cost", points=12, limits=[Capacity(150)],
        options=options, tell=lambda done, of: told.append((done, of)),
    )  # fmt: skip
    assert swept.largest_gap <= 1e-3
    assert told[-1] == (12, 12)
    for point in swept.points[::4]:
        alone = solve(outcomes, minimize="cost", options=options,
                      limits=[Capacity(150), QualityFloor(mean=point.value)])  # fmt: skip
        assert point.objective >= alone.certified_bound * (1 - 1e-12)
        assert alone.objective >= point.certified_bound * (1 - 1e-12)
        assert point.mean_quality >= point.value - 1e-9


@pytest.mark.parametrize("sweep", ["quality_floor", "budget", "capacity:m1"])
def test_a_long_table_is_traced_with_hardly_a_solve(sweep):
    problem = continuous(9_000, 4).problem
    outcomes = Outcomes.from_arrays(problem.objective, -problem.rows[0].usage)
    room = dict(zip(outcomes.models, problem.rows[1].limit.tolist(), strict=True))
    goal = {"maximize": "quality"} if sweep == "budget" else {"minimize": "cost"}
    limits = [Capacity(room)]
    if sweep == "capacity:m1":
        del room["m1"]
        mean = -float(problem.rows[0].limit[0]) / outcomes.n_queries
        limits = [Capacity(room), QualityFloor(mean=mean)]
    options = SolveOptions(mip_rel_gap=1e-3)
    swept = frontier(outcomes, sweep=sweep, points=9, limits=limits, options=options, **goal)
    assert swept.largest_gap <= 1e-3
    assert sum(point.solved for point in swept.points) <= 3
    made = {
        "quality_floor": lambda v: QualityFloor(mean=v),
        "budget": Budget,
        "capacity:m1": lambda v: Capacity({"m1": v}),
    }[sweep]
    for point in swept.points[1::4]:
        alone = solve(outcomes, limits=[*limits, made(point.value)], options=options, **goal)
        sign = -1 if sweep == "budget" else 1
        assert sign * point.objective >= sign * alone.certified_bound
        assert sign * alone.objective >= sign * point.certified_bound


def test_queries_of_one_allowed_model_are_never_moved():
    draw = np.random.default_rng(0)
    n = 9_000
    cost = draw.uniform(0.5, 1, (n, 3)) * [1, 3, 9]
    outcomes = Outcomes.from_arrays(cost, draw.uniform(0, 1, (n, 3)), ["a", "b", "c"])
    pinned, allowed = draw.random(n) < 0.3, np.ones((n, 3), bool)
    model = draw.integers(0, 3, n)
    allowed[pinned] = False
    allowed[pinned, model[pinned]] = True
    swept = frontier(
        outcomes, sweep="budget", maximize="quality", points=10, allowed=allowed, compare=False
    )
    assert len(swept.points) == 10
    assert swept.largest_gap <= 1e-4


def test_a_trace_that_does_not_come_off_is_left_to_solving():
    # Two kinds of queries, all tied: no sample can tell them apart.
    cost = np.tile([1.0, 2.0], (9_000, 1))
    quality = np.where(np.arange(9_000)[:, None] % 2, [[0.2, 0.7]], [[0.2, 0.5]])
    swept = frontier(
        Outcomes.from_arrays(cost, quality), sweep="budget", maximize="quality", points=5
    )
    assert swept.largest_gap <= 1e-4
    assert any(point.solved for point in swept.points)


def test_time_cuts_the_sweep_and_not_what_is_known():
    rng = np.random.default_rng(4)
    outcomes = Outcomes.from_arrays(rng.lognormal(size=(300, 4)), rng.uniform(0, 1, (300, 4)))
    swept = frontier(
        outcomes, sweep="quality_floor", minimize="cost", points=[0.5, 0.6, 0.7, 1.0],
        options=SolveOptions(time_limit=1e-3),
    )  # fmt: skip
    assert [point.value for point in swept.points] == [1.0, 0.7, 0.6, 0.5]
    for point in swept.points:
        assert point.status == "unknown" or point.certified_bound <= point.objective


def test_shares_and_groups_are_swept_as_one():
    grouped = Outcomes.from_arrays(
        [[1.0, 4.0]] * 4, [[0.5, 0.9]] * 4, attributes={"tenant": np.array(["a", "a", "b", "b"])}
    )
    # Half of each tenant's queries on the large model: a mean of .7 for both, at 2 x (1 + 4).
    (point,) = points_of(
        grouped, sweep=QualityFloor(mean=0, by="tenant"), minimize="cost", points=[0.7]
    )
    assert point.objective == pytest.approx(10)
    shares = frontier(grouped, sweep=MinShare(1), minimize="cost", points=[0.5, 0.25, 0])
    assert [point.objective for point in shares.points] == pytest.approx([10, 7, 4])
    assert shares.limit_unit == "share of requests"
    assert shares.relation == ">="


def test_comparisons_ignore_limits():
    swept = frontier(OUTCOMES, sweep="budget", maximize="quality", points=2)
    assert [(s.name, s.mean_cost) for s in swept.singles] == [("small", 1.0), ("large", 4.0)]
    assert [spot.name for spot in swept.blind] == ["small", "large"]
    qualities = [spot.mean_quality for spot in swept.lambda_curve]
    assert qualities[0] == pytest.approx(0.9)
    assert qualities[-1] == pytest.approx(1.3 / 3)
    assert (
        frontier(OUTCOMES, sweep="budget", maximize="quality", points=2, compare=False).singles
        == ()
    )


def test_solvers_without_prices_serve_too():
    points = points_of(OUTCOMES, sweep="budget", maximize="quality", points=[3, 6], solver="highs")
    assert [point.objective for point in points] == pytest.approx([1.3, 2.0])


def test_json_report_and_plot(tmp_path, capsys):
    swept = frontier(OUTCOMES, sweep="budget", maximize="quality", points=[2, 6, 12])
    plain = json.loads(json.dumps(swept.to_dict(), allow_nan=False))
    assert plain["points"][0]["objective"] is None
    assert plain["points"][1]["status"] == "optimal"
    print_report(frontier_report(swept))
    assert "infeasible" in capsys.readouterr().out
    pytest.importorskip("matplotlib")
    plot_frontier(swept, tmp_path / "curve.svg")
    assert (tmp_path / "curve.svg").stat().st_size > 1000
    bare = Outcomes(("a", "b"), {"time": np.array([[1.0, 2.0]] * 3)})
    timed = frontier(bare, sweep="capacity:a", minimize="time", points=2)
    plot_frontier(timed, tmp_path / "bare.svg")
    with pytest.raises(OptionError, match="no figure"):
        plot_frontier(swept, tmp_path / "curve.txt")


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"sweep": "speed"}, OptionError, "cannot sweep 'speed'; name budget"),
        ({"sweep": "capacity:huge"}, TableError, "no model 'huge'"),
        ({"sweep": "cap:speed"}, TableError, "no column 'speed'"),
        ({"sweep": "budget", "points": 1}, OptionError, "points is 1; a frontier has 2"),
        ({"sweep": "budget", "points": []}, OptionError, "points is empty"),
        ({"sweep": "budget", "points": [-1]}, OptionError, "Budget total is -1"),
        ({"sweep": "quality_floor", "points": [1.5]}, OptionError, "mean is 1.5"),
        ({"sweep": Budget(1, confidence=0.9)}, OptionError, "confidence"),
        ({"sweep": object()}, OptionError, "has no amount to sweep"),
        ({"sweep": "budget", "limits": [Capacity(1)]}, ProblemError, "the other limits"),
    ],
)
def test_bad_input_is_one_clear_error(asked, error, words):
    with pytest.raises(error, match=words) as told:
        frontier(OUTCOMES, maximize="quality", **asked)
    assert isinstance(told.value, RoutingError)
    assert "\n" not in str(told.value)


def test_names_of_sweeps():
    assert parse_sweep("capacity") == Capacity(1.0)
    assert parse_sweep("capacity:large") == Capacity({"large": 1.0})
    assert parse_sweep("cap:latency") == MetricCap("latency", mean=1.0)
    assert parse_sweep("quality_total") == QualityFloor(total=1.0)


def test_frontier_and_sensitivity_on_the_command_line(tmp_path, capsys, monkeypatch):
    # Three upgrades at 3 USD each gain .3, .4 and .7: as in the first case above.
    lines = ["query_id,model,cost,quality"]
    for i, (small, large) in enumerate([(0.6, 0.9), (0.5, 0.9), (0.2, 0.9)]):
        lines += [f"q{i},small,1,{small}", f"q{i},large,4,{large}"]
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")

    def run(command, *words):
        words = (command, tmp_path / "table.csv", "--maximize", "quality", *words)
        monkeypatch.setattr("sys.argv", ["dualroute", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    status, out, _ = run("frontier", "--sweep", "budget", "--points", "3,6,9,12", "--json", "-")
    assert status == 0
    told = [point["objective"] for point in json.loads(out)["points"]]
    assert told == pytest.approx([1.3, 2.0, 2.4, 2.7])
    status, out, _ = run("frontier", "--sweep", "budget", "--points", "4",
                         "--plot", tmp_path / "frontier.png")  # fmt: skip
    assert (status, (tmp_path / "frontier.png").exists()) == (0, True)
    status, out, _ = run("sensitivity", "--budget", "8", "--json", "-")
    assert status == 0
    assert json.loads(out)["lines"][0]["price"] == pytest.approx(0.4 / 3)
    status, _, err = run("frontier", "--sweep", "speed")
    assert (status, err.count("\n")) == (2, 1)
