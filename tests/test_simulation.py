"""A table replayed as a stream: figures by hand, limits kept in every order, one error each."""

import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from dualroute import (
    Budget,
    Capacity,
    ContextWindow,
    MissingDependencyError,
    OptionError,
    Outcomes,
    PolicyError,
    QualityFloor,
    TableError,
    solve,
)
from dualroute.cli import main
from dualroute.contenders import CONTENDERS, Batches, Contender, LinUcb, Mirror, Router
from dualroute.simulation import ORDERS, Outage, simulate_stream
from dualroute.simulationreport import plot_simulation, simulation_report
from dualroute.workload import simulate


def drawn(seed, n=60, m=3):
    """What is predicted, what happens, and predictions of a history: dearer models are better."""
    draw = np.random.default_rng(seed)
    strength = np.linspace(0.3, 0.9, m)

    def tables(size):
        chance = np.clip(strength + draw.normal(0, 0.25, (size, m)), 0, 1)
        cost = np.exp(3 * strength + draw.normal(0, 0.3, (size, m)))
        truth = (draw.random((size, m)) < chance).astype(float)
        told = Outcomes.from_arrays(cost * np.exp(draw.normal(0, 0.1, (size, m))), chance)
        return told, Outcomes.from_arrays(cost, truth)

    return *tables(n), tables(2 * n)[0]


def limits_of(told, crowd=1.5):
    n, m = told.n_queries, told.n_models
    cost = told.column("cost").mean(axis=0)
    return [Budget(float(n * (cost.min() + cost.max()) / 2)), Capacity(math.ceil(crowd * n / m))]


def test_figures_of_two_queries_by_hand():
    # Both are told .5 and .9; the first large answer is worth nothing. 8 USD buy two of them.
    told = Outcomes.from_arrays([[1, 4]] * 2, [[0.5, 0.9]] * 2)
    seen = Outcomes.from_arrays([[1, 5], [1, 4]], [[1, 0], [1, 1]])
    result = simulate_stream(
        told, seen, maximize="quality", limits=[Budget(8)], policies=["fixed"], seeds=3
    )
    assert result.optimum == pytest.approx(2)
    assert result.predicted_optimum == pytest.approx(1.8)
    assert (result.offline_cost, result.offline_quality) == (9, 0.5)
    assert result.offline_ratio == pytest.approx(0.5)
    assert result.offline_broken[0].worst == pytest.approx(1 / 8)
    line = result.line("fixed", "by-difficulty")
    # Hardest first: query 0 goes large and takes 5; 3 are left, told too few for another.
    assert line.cost.value == 6
    assert line.quality.value == 0.5
    assert (line.ratio.low, line.ratio.high) == (0.5, 0.5)
    assert line.broken[0].share == 0
    assert line.path[[0, -1]].tolist() == [0, 0.75]
    assert line.stopped == 0.5
    # In either order one large answer is bought, and the other is small.
    assert result.line("fixed", "random").refused == 0


def test_ratio_of_a_cost_is_at_most_one_too():
    told = Outcomes.from_arrays([[1, 4]] * 4, [[0.5, 0.9]] * 4)
    result = simulate_stream(
        told, told, minimize="cost", limits=[QualityFloor(mean=0.7)], policies=["mirror"], seeds=2
    )
    line = result.line("mirror", "random")
    assert result.optimum == pytest.approx(10)
    assert 0 < line.ratio.value <= 1
    assert line.broken[0].share == 0


class Idle:
    """A contender that turns everything away."""

    def start(self, policy, seed):
        return self

    def route(self, told, *, allowed=None):
        raise PolicyError("no")


def test_turning_queries_away_is_not_the_cheapest_answer():
    # Nothing is answered: of the cost, all count as the dearest, 16 against an optimum of 10.
    told = Outcomes.from_arrays([[1, 4]] * 4, [[0.5, 0.9]] * 4)
    asked = {"limits": [QualityFloor(mean=0.7)], "policies": {"idle": Idle()}, "seeds": 1,
             "orders": ["random"]}  # fmt: skip
    (line,) = simulate_stream(told, told, minimize="cost", **asked).lines
    assert line.ratio.value == pytest.approx(10 / 16)
    assert (line.refused, line.broken[0].worst) == (4, 1)
    (line,) = simulate_stream(told, told, maximize="quality", **asked).lines
    assert line.ratio.value == 0


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 2**16), st.sampled_from(ORDERS), st.sampled_from([1.0, 1.5, 3.0]))
def test_no_rule_exceeds_a_capacity_in_any_order(seed, order, crowd):
    told, seen, earlier = drawn(seed, n=30)
    result = simulate_stream(told, seen, maximize="quality", limits=limits_of(told, crowd),
                             history=earlier, orders=[order], seeds=2, seed=seed)  # fmt: skip
    assert [line.policy for line in result.lines] == list(CONTENDERS)
    for line in result.lines:
        budget, capacity = line.broken
        assert capacity.share == capacity.worst == 0
        assert line.refused == 0
        assert budget.share in (0, 0.5, 1)
        assert line.ratio.low <= line.ratio.value <= line.ratio.high
        if budget.share == 0:
            assert line.ratio.high <= 1 + 1e-9


def test_what_is_predicted_right_is_routed_nearly_as_well_as_offline():
    outcomes = simulate(600, seed=3).outcomes
    told = outcomes.take(np.arange(200, 600))
    cost = told.column("cost").mean(axis=0)
    limits = [Budget(400 * float(np.median(cost)) / 2), Capacity(120)]
    result = simulate_stream(told, told, maximize="quality", limits=limits, seeds=3,
                             history=outcomes.take(np.arange(200)),
                             policies=["mirror", "batches"], orders=["random"])  # fmt: skip
    assert result.offline_ratio == pytest.approx(1, abs=1e-3)
    assert result.line("mirror", "random").ratio.low > 0.95
    assert result.prices_from == "a plan of 200 earlier queries"


def test_the_same_seed_gives_the_same_streams():
    told, seen, earlier = drawn(1)
    runs = [
        simulate_stream(told, seen, maximize="quality", limits=limits_of(told), history=earlier,
                        seeds=2, seed=7, policies=["mirror", "linucb"])
        for _ in range(2)
    ]  # fmt: skip
    for first, second in zip(runs[0].lines, runs[1].lines, strict=True):
        assert first.ratio == second.ratio
        assert (first.path == second.path).all()


class Spy:
    """A contender that notes what it is asked."""

    def __init__(self):
        self.routed, self.downs, self.told = [], [], []

    def start(self, policy, seed):
        self.stream = Mirror().start(policy, seed)
        return self

    def route(self, told, *, allowed=None):
        self.told.append(told.copy())
        decision = self.stream.route(told, allowed=allowed)
        self.routed.append(decision.name)
        return decision

    def observe(self, decision, seen):
        self.stream.observe(decision, seen)

    def down(self, model):
        self.downs.append((len(self.routed), model))
        self.stream.down(model)

    def up(self, model):
        self.downs.append((len(self.routed), "up"))
        self.stream.up(model)


def test_nothing_goes_to_a_model_that_is_out():
    told, seen, _ = drawn(2)
    spy = Spy()
    assert isinstance(spy, Contender)
    assert isinstance(spy, Router)
    result = simulate_stream(told, seen, maximize="quality", limits=limits_of(told, 3.0), seeds=1,
                             policies=[spy], orders=["random"],
                             outage=Outage("m2", 0.25, 0.5))  # fmt: skip
    assert spy.downs == [(15, "m2"), (30, "up")]
    assert "m2" not in spy.routed[15:30]
    assert "m2" in spy.routed[:15] + spy.routed[30:]
    assert result.line("spy", "random").broken[1].worst == 0


def test_orders_of_arrival():
    told, seen, _ = drawn(3)
    kind = np.array(["a", "b", "c"] * 20)
    told = replace(told, attributes={"kind": kind})
    arrived = {}
    for order in ORDERS:
        spy = Spy()
        simulate_stream(told, seen, maximize="quality", policies=[spy], orders=[order], seeds=1,
                        limits=limits_of(told), kind="kind")  # fmt: skip
        quality = told.column("quality").tolist()
        arrived[order] = [quality.index(one[0].tolist()) for one in spy.told]
    assert all(sorted(order) == list(range(60)) for order in arrived.values())
    difficulty = seen.column("quality").mean(axis=1)[arrived["by-difficulty"]]
    assert (np.diff(difficulty) >= 0).all()
    runs = kind[arrived["bursts"]]
    assert (runs[1:] != runs[:-1]).sum() == 2


def test_restrictions_hold_for_every_query():
    told, seen, _ = drawn(4)
    length = np.arange(60.0)[:, None]
    told, seen = (
        replace(one, columns={**one.columns, "input_tokens": length}) for one in (told, seen)
    )
    limits = [ContextWindow({"m2": 29}), *limits_of(told, 3.0)]
    result = simulate_stream(told, seen, maximize="quality", limits=limits, seeds=1,
                             history=told, orders=["random"])  # fmt: skip
    # A pair that is forbidden is worth minus infinity: a ratio would not be a number.
    assert all(math.isfinite(line.ratio.value) for line in result.lines)
    assert all(line.refused == 0 for line in result.lines)


def test_rules_of_one_class_are_told_apart():
    told, seen, _ = drawn(9, n=10)
    asked = {"maximize": "quality", "limits": limits_of(told), "orders": ["random"], "seeds": 1}
    rules = ["mirror", Mirror(step=0.1), Mirror(step=1.0)]
    result = simulate_stream(told, seen, policies=rules, **asked)
    assert [line.policy for line in result.lines] == ["mirror", "mirror_2", "mirror_3"]
    result = simulate_stream(told, seen, policies={"slow": Mirror(step=0.01)}, **asked)
    assert [line.policy for line in result.lines] == ["slow"]


def test_linucb_learns_which_model_is_worth_it():
    n = 400
    draw = np.random.default_rng(0)
    told = Outcomes.from_arrays([[1.0, 1.0]] * n, draw.random((n, 2)))
    seen = Outcomes.from_arrays([[1.0, 1.0]] * n, [[0.0, 1.0]] * n)
    result = simulate_stream(told, seen, maximize="quality", limits=[Budget(2 * n)], seeds=1,
                             policies=[LinUcb()], orders=["random"])  # fmt: skip
    assert result.line("linucb", "random").ratio.value > 0.9


def test_linucb_explores_alike_in_any_unit_of_the_objective():
    told, seen, earlier = drawn(11)

    def served(unit):
        tables = [replace(one, columns={**one.columns, "cost": one.columns["cost"] * unit})
                  for one in (told, seen, earlier)]  # fmt: skip
        limits = [QualityFloor(mean=0.5), Capacity(30)]
        result = simulate_stream(tables[0], tables[1], minimize="cost", limits=limits, seeds=1,
                                 history=tables[2], policies=["linucb"],
                                 orders=["random"])  # fmt: skip
        return result.lines[0].ratio.value

    assert served(2.0**-20) == pytest.approx(served(1.0))


def test_a_batch_that_fits_in_part_is_charged_once():
    # Three of four requests fit; each batch of four falls back to its queries one by one.
    told = Outcomes.from_arrays([[1, 1]] * 4, [[0.5, 0.9]] * 4)
    spy = {}

    class Full(Batches):
        def start(self, policy, seed):
            spy["stream"] = Batches.start(self, policy, seed)
            spy["stream"].set_residual("capacity", {"m0": 1, "m1": 2})
            return spy["stream"]

    (line,) = simulate_stream(told, told, maximize="quality", limits=[Capacity(3)], seeds=1,
                              policies={"full": Full(4)}, orders=["random"]).lines  # fmt: skip
    assert line.refused == 1
    assert [left.tolist() for left in spy["stream"].residuals()] == [[0, 0]]


def test_a_batch_waits_until_it_is_full_and_keeps_what_runs_at_once():
    told, seen, _ = drawn(5)
    result = simulate_stream(told, seen, maximize="quality", limits=limits_of(told), seeds=1,
                             policies=[Batches(20, concurrent=1.0)], orders=["random"])  # fmt: skip
    # Seven at a time at most of 20, in three batches.
    assert result.line("batches", "random").refused == 0


def test_plain_values_and_a_figure(tmp_path):
    told, seen, earlier = drawn(6, n=20)
    result = simulate_stream(told, seen, maximize="quality", limits=limits_of(told), seeds=2,
                             history=earlier, outage=Outage("m1"))  # fmt: skip
    told_again = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert len(told_again["lines"]) == len(ORDERS) * len(CONTENDERS)
    assert told_again["outage"] == {"model": "m1", "start": 0.4, "stop": 0.6}
    assert told_again["lines"][0]["broken"][0]["name"] == "budget"
    said = io.StringIO()
    Console(file=said, width=140).print(simulation_report(result))
    assert "m1 is out from 40% to 60%" in said.getvalue()
    assert all(name in said.getvalue() for name in (*ORDERS, *CONTENDERS))
    with pytest.raises(OptionError, match="no figure"):
        plot_simulation(result, tmp_path / "figure.txt")
    try:
        plot_simulation(result, tmp_path / "figure.svg")
    except MissingDependencyError:
        return
    assert (tmp_path / "figure.svg").read_text("utf-8").startswith("<?xml")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"policies": ["best"]}, OptionError, "no policy 'best'; choose among mirror, queue"),
        ({"orders": ["sorted"]}, OptionError, "found 'sorted'; choose among random, by-diff"),
        ({"orders": []}, OptionError, "order of arrival: found none"),
        ({"seeds": 0}, OptionError, "seeds is 0"),
        ({"outage": Outage("m9")}, TableError, "no model 'm9'"),
        ({"kind": "tenant"}, TableError, "no attribute 'tenant'"),
        ({"limits": [Budget(1e-3)]}, PolicyError, "no policy without a feasible plan"),
    ],
)
def test_what_cannot_be_simulated(change, error, message):
    told, seen, earlier = drawn(7, n=10)
    asked = {"limits": limits_of(told), "history": earlier, "policies": ["fixed"], **change}
    with pytest.raises(error, match=message):
        simulate_stream(told, seen, maximize="quality", **asked)


def test_tables_and_plans_that_do_not_fit():
    told, seen, earlier = drawn(8, n=10)
    with pytest.raises(TableError, match="10 queries predicted and 5 observed"):
        simulate_stream(told, seen.take(np.arange(5)), maximize="quality")
    other = Outcomes.from_arrays(np.ones((10, 2)), np.ones((10, 2)))
    with pytest.raises(TableError, match=r"different models \(m2\)"):
        simulate_stream(told, other, maximize="quality")
    plan = solve(earlier, maximize="quality", limits=[Capacity(20)])
    with pytest.raises(PolicyError, match=r"limits \(capacity\) than the stream \(budget, cap"):
        simulate_stream(told, seen, maximize="quality", limits=limits_of(told), plan=plan)
    with pytest.raises(OptionError, match=r"the outage is from 0\.6 to 0\.4"):
        Outage("m1", 0.6, 0.4)
    result = simulate_stream(told, seen, maximize="quality", policies=["fixed"], seeds=1)
    with pytest.raises(OptionError, match="'mirror' under 'random' was not simulated"):
        result.line("mirror", "random")


def test_simulate_on_the_command_line(tmp_path, capsys, monkeypatch):
    lines = ["query_id,model,cost,quality"]
    lines += [f"q{i},{m},{c},{q}" for i in range(20) for m, c, q in (("a", 1, 0.5), ("b", 3, 1))]
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")

    def run(*words):
        monkeypatch.setattr("sys.argv", ["dualroute", "simulate", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    asked = (tmp_path / "table.csv", "--maximize", "quality", "--budget", "40", "--policies",
             "mirror,fixed", "--orders", "random", "--seeds", "2")  # fmt: skip
    status, out, _ = run(*asked, "--json", "-")
    assert status == 0
    told = json.loads(out)
    assert {line["policy"] for line in told["lines"]} == {"mirror", "fixed"}
    status, out, _ = run(*asked, "--plot", tmp_path / "streams.png")
    assert status == 0
    assert "mirror" in out
    assert (tmp_path / "streams.png").exists()
    status, _, err = run(*asked, "--outage", "b")
    assert (status, err.count("\n")) == (2, 1)
    assert "MODEL=FROM,TO" in err
