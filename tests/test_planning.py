import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import Bounds, LinearConstraint, milp

from dualroute import Capacity, Outcomes, QualityFloor, SolveOptions, planning
from dualroute.cli import main
from dualroute.errors import OptionError, TableError
from dualroute.planning import Replicas, Traffic, plan_replicas, traffic_by
from dualroute.planreport import plot_replicas
from dualroute.rooms import Routings

EXACT = SolveOptions(mip_rel_gap=0.0, time_limit=60.0)
FLOOR = 0.55


def period(name, n, cost=(1.0, 4.0), quality=(0.5, 1.0), **more):
    """Queries that are all alike."""
    return Traffic(name, Outcomes.from_arrays([cost] * n, [quality] * n), **more)


def drawn(seed, *, periods=3, n=8, m=3, scenarios=1, opening=0.0, switching=0.0):
    draw = np.random.default_rng(seed)
    traffic = []
    for s in range(scenarios):
        for t in range(periods):
            k = int(draw.integers(3, n + 1))
            quality = draw.random((k, m))
            cost = draw.integers(1, 20, (k, m)) / 10 * np.array([1, 2, 4])[:m]
            traffic.append(Traffic(str(t), Outcomes.from_arrays(cost, quality), str(s)))
    replicas = [
        Replicas(
            f"m{j}",
            size=float(draw.integers(1, 4)),
            price=float(draw.integers(1, 9)) / 4,
            most=6,
            gpus=float(draw.integers(1, 4)),
            opening=opening * float(draw.integers(0, 3)),
            switching=switching,
        )
        for j in range(m)
    ]
    return traffic, replicas


def whole_program(traffic, replicas, gpus, *, constant):
    """The least cost, by one mixed-integer program over counts and routings: HiGHS in scipy."""
    periods = list(dict.fromkeys(one.period for one in traffic))
    scenarios = len({one.scenario for one in traffic})
    size, slots = len(replicas), 1 if constant else len(periods)
    times = len(periods) if constant else 1
    cost, upper = [], []
    for name in ("price", "opening"):
        for _ in range(slots):
            cost += [getattr(one, name) * times for one in replicas]
            upper += [one.most if name == "price" else 1 for one in replicas]
    for _ in range(slots - 1):
        cost += [one.switching for one in replicas]
        upper += [one.most for one in replicas]
    begins = []
    for one in traffic:
        begins.append(len(cost))
        cost += (one.outcomes.column("cost") / scenarios).ravel().tolist()
        upper += [1] * one.outcomes.column("cost").size
    rows, low, high = [], [], []

    def row(least, most, *entries):
        line = np.zeros(len(cost))
        for where, value in entries:
            line[where] = value
        rows.append(line)
        low.append(least)
        high.append(most)

    for t in range(slots):
        if gpus is not None:
            row(-np.inf, gpus, (slice(t * size, (t + 1) * size), [one.gpus for one in replicas]))
        for r, one in enumerate(replicas):
            row(-np.inf, 0, (t * size + r, 1), ((slots + t) * size + r, -one.most))
            if t:
                apart = (2 * slots + t - 1) * size + r
                for sign in (1, -1):
                    row(-np.inf, 0, (t * size + r, sign), ((t - 1) * size + r, -sign), (apart, -1))
    for one, begin in zip(traffic, begins, strict=True):
        n, m = one.outcomes.n_queries, one.outcomes.n_models
        t = 0 if constant else periods.index(one.period)
        for i in range(n):
            row(1, 1, (slice(begin + i * m, begin + (i + 1) * m), 1))
        for r, replica in enumerate(replicas):
            row(-np.inf, 0, (begin + np.arange(n) * m + r, 1), (t * size + r, -replica.size))
        row(
            FLOOR * n, np.inf, (slice(begin, begin + n * m), one.outcomes.column("quality").ravel())
        )
    found = milp(
        np.array(cost),
        constraints=LinearConstraint(np.array(rows), low, high),
        integrality=np.ones(len(cost)),
        bounds=Bounds(0, np.array(upper)),
        options={"mip_rel_gap": 0},
    )
    return math.inf if found.fun is None else found.fun


@pytest.mark.parametrize(
    ("seed", "gpus", "constant", "more"),
    [
        (0, None, False, {}),
        (1, 9.0, False, {}),
        (7, 9.0, False, {}),  # no counts will do
        (13, 9.0, False, {}),
        (2, None, True, {}),
        (14, None, True, {}),
        (3, None, False, {"switching": 0.5}),
        (9, None, False, {"switching": 0.5}),
        (16, None, False, {"opening": 1.0}),
        (22, None, False, {"opening": 1.0}),
        (11, 10.0, True, {"scenarios": 2, "opening": 0.5}),
        (17, 10.0, True, {"scenarios": 2, "opening": 0.5}),
    ],
)
def test_counts_cost_what_one_program_over_everything_finds(seed, gpus, constant, more):
    traffic, replicas = drawn(seed, **more)
    plan = plan_replicas(
        traffic, replicas, limits=[QualityFloor(mean=FLOOR)], gpus=gpus, constant=constant,
        options=EXACT,
    )  # fmt: skip
    best = whole_program(traffic, replicas, gpus, constant=constant)
    if best == math.inf:
        assert (plan.status, plan.counts, plan.infeasible) == ("infeasible", None, True)
        return
    assert plan.objective == pytest.approx(best, abs=1e-6)
    assert plan.status == "optimal"
    assert plan.certified_bound <= plan.objective
    spent = plan.replica_cost + sum(one.objective for one in plan.plans.values()) / len(
        plan.scenarios
    )
    assert spent == pytest.approx(plan.objective)
    for (_, name), routed in plan.plans.items():
        assert routed.certificate.feasible
        counts = plan.counts[plan.periods.index(name)]
        used = np.bincount(routed.assignment, minlength=len(replicas))
        assert (used <= counts * [one.size for one in replicas]).all()


def test_a_replica_is_bought_when_it_saves_its_price():
    # Ten queries; the small model costs 1 each and is enough. Large: 4 each, quality 1.
    # A floor of 0.75 needs five on large: two replicas of size 3, at 2 each: 4 + 5 + 20 = 29.
    replicas = [Replicas("m1", size=3, price=2.0, most=5)]
    plan = plan_replicas([period("noon", 10)], replicas, limits=[QualityFloor(mean=0.75)],
                         options=EXACT)  # fmt: skip
    assert plan.counts.tolist() == [[2]]
    assert plan.objective == pytest.approx(29)
    assert plan.replica_cost == 4
    assert plan.status == "optimal"


def test_switching_keeps_a_replica_through_a_quiet_hour():
    # Noon and evening need one replica each, the hour between none: off and on costs 2 x 5,
    # running through costs its price of 2.
    replicas = [Replicas("m1", size=10, price=2.0, most=1, switching=5.0)]
    hours = [period("noon", 4), period("quiet", 4, quality=(0.9, 1.0)), period("evening", 4)]
    plan = plan_replicas(hours, replicas, limits=[QualityFloor(mean=0.75)], options=EXACT)
    assert plan.counts.ravel().tolist() == [1, 1, 1]
    # Before noon one more has to be started, unless it runs already.
    started = [Replicas("m1", size=10, price=2.0, most=1, switching=5.0, running=0)]
    again = plan_replicas(hours, started, limits=[QualityFloor(mean=0.75)], options=EXACT)
    assert again.objective == pytest.approx(plan.objective + 5)


def test_opening_decides_against_a_second_model():
    # Both models do the same; one replica each would be cheapest if opening m1 cost nothing.
    both = {"cost": (1.0, 1.0), "quality": (1.0, 1.0)}
    replicas = [
        Replicas("m0", size=5, price=3.0, most=4),
        Replicas("m1", size=5, price=1.0, most=1, opening=2.5),
    ]
    plan = plan_replicas([period("noon", 10, **both)], replicas, options=EXACT)
    assert plan.counts.tolist() == [[2, 0]]  # 6 + 10 against 3 + 1 + 2.5 + 10
    assert plan.objective == pytest.approx(16)


def test_a_weight_stands_for_queries_that_are_not_listed():
    # A sample of one in a hundred: capacities and costs are those of the whole.
    replicas = [Replicas("m1", size=300, price=200.0, most=5)]
    plan = plan_replicas(
        [period("noon", 10, weight=100.0)], replicas, limits=[QualityFloor(mean=0.75)],
        options=EXACT,
    )  # fmt: skip
    assert plan.counts.tolist() == [[2]]
    assert plan.objective == pytest.approx(2900)


def test_scenarios_share_replicas_and_are_weighed():
    # A busy day of 10 queries, a calm one of 2; replicas are for both.
    traffic = [period("day", 10, scenario="busy"), period("day", 2, scenario="calm")]
    replicas = [Replicas("m1", size=3, price=2.0, most=5)]
    plan = plan_replicas(
        traffic, replicas, limits=[QualityFloor(mean=0.75)], options=EXACT,
        probabilities={"busy": 0.25, "calm": 0.75},
    )  # fmt: skip
    assert plan.counts.tolist() == [[2]]
    assert plan.scenario_cost() == pytest.approx({"busy": 29, "calm": 9})
    assert plan.objective == pytest.approx(0.25 * 29 + 0.75 * 9)
    assert plan.worst == pytest.approx(29)


def test_the_json_is_plain_and_whole():
    plan = plan_replicas([period("noon", 10)], [Replicas("m1", size=3, price=2.0, most=5)],
                         limits=[QualityFloor(mean=0.75)], options=EXACT)  # fmt: skip
    told = json.loads(json.dumps(plan.to_dict()))
    assert told["periods"] == [{"period": "noon", "counts": {"m1": 2}}]
    assert told["routings"][0]["per_model"] == {"m0": 5, "m1": 5}
    assert told["status"] == "optimal"
    nothing = plan_replicas([period("noon", 10)], [Replicas("m1", size=3, price=2.0, most=1)],
                            limits=[QualityFloor(mean=0.75)], options=EXACT)  # fmt: skip
    told = json.loads(json.dumps(nothing.to_dict()))
    assert (told["status"], told["periods"], told["objective"]) == ("infeasible", [], None)


def test_a_log_is_divided_by_hour_and_day():
    outcomes = Outcomes.from_arrays(
        [[1.0, 2.0]] * 5, [[0.5, 1.0]] * 5,
        attributes={"hour": [10, 9, 10, 9, 9], "day": ["mo", "mo", "tu", "tu", "tu"]},
    )  # fmt: skip
    parts = traffic_by(outcomes, "hour", "day")
    assert [(one.scenario, one.period, one.outcomes.n_queries) for one in parts] == [
        ("mo", "9", 1), ("mo", "10", 1), ("tu", "9", 2), ("tu", "10", 1),
    ]  # fmt: skip
    with pytest.raises(TableError, match="hour 10 has no queries in day tu"):
        traffic_by(outcomes.take(np.array([0, 1, 3])), "hour", "day")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"size": 0.0}, "size is 0"),
        ({"price": -1.0}, "price is -1"),
        ({"gpus": math.nan}, "gpus is nan"),
        ({"most": 2, "least": 3}, "at least 3 and at most 2"),
        ({"most": 1.5}, "whole numbers"),
        ({"running": -1}, "whole numbers"),
    ],
)
def test_replicas_that_cannot_be_are_refused(wrong, said):
    with pytest.raises(OptionError, match=said):
        Replicas(**({"model": "m1", "size": 1.0, "price": 1.0, "most": 5} | wrong))


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"traffic": []}, OptionError, "at least one period"),
        ({"replicas": [Replicas("large", 1, 1, 1)]}, TableError, "no model 'large'"),
        ({"replicas": [Replicas("m1", 1, 1, 1)] * 2}, OptionError, "given twice"),
        ({"replicas": [Replicas("m1", 1, 1, 1, column="tokens")]}, TableError, "noon.*tokens"),
        ({"gpus": 4.0}, OptionError, "no replica needs any"),
        ({"replicas": [Replicas("m1", 1, 1, 2, least=2, gpus=4)], "gpus": 4.0}, OptionError,
         "need 8 GPUs and there are 4"),
        ({"traffic": [period("noon", 1), period("noon", 1)]}, OptionError, "given 2 times"),
        ({"probabilities": {"": 0.5}}, OptionError, "adding up to 1"),
    ],
)  # fmt: skip
def test_plans_that_cannot_be_are_refused(change, error, said):
    asked = {"traffic": [period("noon", 3)], "replicas": [Replicas("m1", 1, 1, 5)]} | change
    with pytest.raises(error, match=said):
        plan_replicas(asked.pop("traffic"), asked.pop("replicas"), **asked)


def test_other_models_keep_the_limits_given():
    # m0 takes 4 of ten; the rest needs two replicas of m1.
    replicas = [Replicas("m1", size=3, price=2.0, most=5)]
    plan = plan_replicas([period("noon", 10)], replicas, limits=[Capacity({"m0": 4})],
                         options=EXACT)  # fmt: skip
    assert plan.counts.tolist() == [[2]]
    assert plan.objective == pytest.approx(4 + 24 + 4)


@pytest.fixture
def log(tmp_path):
    lines = ["query_id,model,cost,quality,hour"]
    for i in range(10):
        lines += [f"q{i},m0,1,0.5,{i // 5}", f"q{i},m1,4,1,{i // 5}"]
    (tmp_path / "log.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "pool.toml").write_text(
        '[[replicas]]\nmodel = "m1"\nsize = 3\nprice = 2.0\nmost = 5\n'
    )
    return tmp_path


def test_plan_on_the_command_line(log, capsys, monkeypatch):
    # Five queries an hour and a floor of 0.75: three on large, one replica an hour.
    words = ("plan", log / "log.csv", "--replicas", log / "pool.toml", "--period", "hour",
             "--quality-floor", "0.75")  # fmt: skip
    monkeypatch.setattr("sys.argv", ["dualroute", *map(str, words)])
    status, out, _ = cli(capsys)
    assert status == 0
    assert "Replicas" in out
    assert "proved" in out
    monkeypatch.setattr("sys.argv", ["dualroute", *map(str, words), "--json", "-"])
    status, out, _ = cli(capsys)
    told = json.loads(out)
    assert [one["counts"]["m1"] for one in told["periods"]] == [1, 1]
    assert told["objective"] == pytest.approx(2 * 2 + 6 * 4 + 4 * 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gpus = 3\n", "no [[replicas]]"),
        ('[[replicas]]\nmodel = "m1"\n', "no field 'size'"),
        ('[[replicas]]\nmodel = "m1"\nsize = 0\nprice = 1\nmost = 1\n', "size is 0"),
        ('[[replicas]]\nmodel = "m1"\nsize = 1\nprice = 1\nmost = 1\nspeed = 2\n', "'speed'"),
        ('pool = 3\n[[replicas]]\nmodel = "m1"\nsize = 1\nprice = 1\nmost = 1\n', "'pool'"),
        ("[[replicas]\n", "not valid TOML"),
    ],
)
def test_files_that_cannot_be_used_are_one_line(log, capsys, monkeypatch, text, said):
    (log / "pool.toml").write_text(text)
    words = ("plan", log / "log.csv", "--replicas", log / "pool.toml")
    monkeypatch.setattr("sys.argv", ["dualroute", *map(str, words)])
    status, _, err = cli(capsys)
    assert status == 2
    assert said in err
    assert err.count("\n") == 1


def cli(capsys):
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code, *capsys.readouterr()


def test_a_plot_is_drawn(tmp_path):
    plan = plan_replicas([period("noon", 10)], [Replicas("m1", size=3, price=2.0, most=5)],
                         limits=[QualityFloor(mean=0.75)], options=EXACT)  # fmt: skip
    plot_replicas(plan, tmp_path / "plan.png")
    assert (tmp_path / "plan.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("solver", ["greedy", "subgradient", "highs"])
def test_any_solver_plans_and_none_proves_too_much(solver):
    # The hand-derived case: 29 is the optimum.
    plan = plan_replicas(
        [period("noon", 10)], [Replicas("m1", size=3, price=2.0, most=5)],
        limits=[QualityFloor(mean=0.75)], solver=solver,
        options=SolveOptions(mip_rel_gap=0.0, time_limit=5.0),
    )  # fmt: skip
    assert not plan.infeasible
    assert plan.certified_bound <= 29 * (1 + 1e-12)
    assert plan.objective >= 29 * (1 - 1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_counts_and_routings_belong_together_at_any_gap(seed):
    traffic, replicas = drawn(seed + 40, scenarios=1 + seed % 2)
    plan = plan_replicas(
        traffic, replicas, limits=[QualityFloor(mean=FLOOR)], constant=seed % 3 == 0,
        options=SolveOptions(mip_rel_gap=0.3, time_limit=10.0),
    )  # fmt: skip
    if plan.counts is None:
        return
    share = 1 / len(plan.scenarios)
    routed = sum(one.objective for one in plan.plans.values()) * share
    assert plan.replica_cost + routed == pytest.approx(plan.objective)
    for (_, name), one in plan.plans.items():
        used = np.bincount(one.assignment, minlength=len(replicas))
        counts = plan.counts[plan.periods.index(name)]
        assert (used <= counts * [r.size for r in replicas] + 1e-6).all()


def test_a_floor_of_some_queries_asks_nothing_of_the_others():
    # Group a needs a score of 2, which m1 alone gives; group b scores -10 whatever it does.
    outcomes = Outcomes.from_arrays(
        [[1.0, 4.0]] * 2, [[0.5, 1.0]] * 2,
        columns={"score": [[0.0, 2.0], [-10.0, -10.0]]}, attributes={"g": ["a", "b"]},
    )  # fmt: skip
    floor = QualityFloor(total={"a": 2.0}, by="g", column="score")
    plan = plan_replicas([Traffic("noon", outcomes)], [Replicas("m1", 1, 2.0, 3)], limits=[floor],
                         options=EXACT)  # fmt: skip
    assert plan.status == "optimal"
    assert plan.objective == pytest.approx(1 + 4 + 2)


def test_however_short_the_time_a_pool_is_filled_and_routed():
    traffic, replicas = drawn(3, periods=4, n=30)
    plan = plan_replicas(
        traffic, [replace(one, size=4, most=20) for one in replicas],
        limits=[QualityFloor(mean=FLOOR)], gpus=25.0, options=SolveOptions(time_limit=1e-6),
    )  # fmt: skip
    assert plan.counts is not None
    assert (plan.counts @ [one.gpus for one in replicas] <= 25).all()
    assert plan.certified_bound <= plan.objective


@pytest.mark.parametrize("threads", [1, 2])
def test_time_that_some_periods_leave_goes_to_those_that_were_cut_short(monkeypatch, threads):
    traffic, replicas = drawn(3, periods=4, n=30)
    # Of their shares of the time nobody gets anywhere.
    monkeypatch.setattr(planning, "_LONGER", 1e-9)
    gaps = {}
    for rounds in (1, 3):
        monkeypatch.setattr(planning, "_ROUNDS", rounds)
        plan = plan_replicas(
            traffic, [replace(one, size=4, most=20) for one in replicas],
            limits=[QualityFloor(mean=FLOOR)], gpus=25.0,
            options=SolveOptions(mip_rel_gap=1e-2, time_limit=60.0, threads=threads),
        )  # fmt: skip
        assert plan.certified_bound <= plan.objective < math.inf
        gaps[rounds] = plan.gap
    assert gaps[3] <= 1e-2 < gaps[1]


def test_ctrl_c_while_time_is_handed_on_keeps_what_was_found(monkeypatch):
    traffic, replicas = drawn(3, periods=2, n=30)
    monkeypatch.setattr(planning, "_LONGER", 1e-9)
    made = []

    def interrupted(*args):
        made.append(args)
        if len(made) > 2:
            raise KeyboardInterrupt
        return Routings(*args)

    monkeypatch.setattr(planning, "Routings", interrupted)
    plan = plan_replicas(
        traffic, [replace(one, size=4, most=20) for one in replicas],
        limits=[QualityFloor(mean=FLOOR)], gpus=25.0, options=SolveOptions(1e3, 1e-3),
    )  # fmt: skip
    assert len(made) == 3
    assert plan.counts is not None
    assert plan.certified_bound <= plan.objective < math.inf


def test_what_costs_nothing_is_proved_to():
    free = period("noon", 5, cost=(0.0, 0.0))
    plan = plan_replicas([free], [Replicas("m1", size=2, price=0.0, most=3)],
                         limits=[QualityFloor(mean=0.75)], options=EXACT)  # fmt: skip
    assert (plan.objective, plan.certified_bound, plan.status) == (0.0, 0.0, "optimal")


@pytest.mark.parametrize("constant", [False, True])
def test_ctrl_c_before_any_counts_leaves_some(monkeypatch, constant):
    asked, bound = [], Routings.bound

    def interrupted(self, counts, accuracy):
        asked.append(counts)
        if len(asked) == 1:
            raise KeyboardInterrupt
        return bound(self, counts, accuracy)

    monkeypatch.setattr(Routings, "bound", interrupted)
    traffic, replicas = drawn(2)
    plan = plan_replicas(
        traffic, replicas, limits=[QualityFloor(mean=FLOOR)], constant=constant, options=EXACT
    )
    assert plan.counts is not None
    assert plan.certified_bound <= plan.objective < math.inf
    assert len(asked) > 1
