"""Prices at work online: what the rule chooses, what it never breaks, what it writes and reads."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dualroute import (
    AllowedModels,
    Budget,
    Capacity,
    MetricCap,
    MinShare,
    Outcomes,
    Policy,
    PolicyError,
    Prices,
    QualityFloor,
    ShareCap,
    TableError,
    formulate,
    read_policy,
    solve,
    verify,
    write_policy,
)
from dualroute.cli import main

MODELS = ("small", "large")
TOLD = {"cost": [1.0, 4.0], "quality": [0.5, 0.9]}


def table(n=4, cost=(1.0, 4.0), quality=(0.5, 0.9), **more):
    return Outcomes.from_arrays([cost] * n, [quality] * n, MODELS, **more)


def planned(limits, *, n=4, prices, **more):
    """A plan with the prices given: all queries go to the small model, at 1 and .5 each."""
    outcomes = table(n)
    values = Prices(tuple(np.atleast_1d(np.array(price, float)) for price in prices))
    aim = more or {"maximize": "quality"}
    return verify(outcomes, np.zeros(n, np.intp), prices=values, limits=limits, **aim)


def routed(policy, queries, **more):
    stream = policy.start()
    return [stream.route(told, **more).model for told in queries], stream


# By hand ------------------------------------------------------------------------------------


def test_each_query_takes_its_cheapest_model_at_the_prices():
    # At .15 per USD, 3 USD more cost .45 of quality: a gain of .4 is not worth it, one of .5 is.
    policy = Policy.of(planned([Budget(16)], prices=[0.15]), update="fixed")
    queries = [TOLD, {"cost": [1, 4], "quality": [0.4, 0.9]}, {"cost": 1, "quality": [0.4, 0.9]}]
    models, stream = routed(policy, queries)
    assert models == [0, 1, 1]
    assert stream.residuals()[0] == pytest.approx([16 - 1 - 4 - 1])
    assert stream.seen == 3


def test_a_reserve_holds_back_the_least_of_every_query_to_come():
    # 5 USD for 3 queries of at least 1 each: the first may take 3, so never the large model.
    plan = planned([Budget(5)], n=3, prices=[0.0])
    models, stream = routed(Policy.of(plan, update="fixed"), [TOLD] * 3)
    assert models == [0, 0, 0]
    assert stream.residuals()[0].tolist() == [2]
    # Without it 4 are spent at once, then 1; the last takes the least, as none is left.
    models, stream = routed(Policy.of(plan, update="fixed", reserve=False), [TOLD] * 3)
    assert models == [1, 0, 0]
    assert stream.residuals()[0].tolist() == [-1]


def test_a_floor_stops_small_models_when_only_large_ones_reach_it():
    # 1.8 of quality from 3 queries that bring .9 at most: after .5 + .5 the last must bring .8.
    outcomes = table(3)
    plan = verify(outcomes, np.ones(3, np.intp), prices=Prices((np.zeros(1),)), minimize="cost",
                  limits=[QualityFloor(mean=0.6)])  # fmt: skip
    models, stream = routed(Policy.of(plan, update="fixed"), [TOLD] * 3)
    assert models == [0, 0, 1]
    assert stream.residuals()[0] == pytest.approx([-1.8 + 1.9])


def test_mirror_descent_by_hand():
    # The choice matters .4; small queries take 1 USD, and so does the root of their mean square:
    # gain .4. With a step of .5 over the root of 4 queries, a USD above target adds .1.
    plan = planned([Budget(8)], prices=[0.05])
    stream = Policy.of(plan, step=0.5, reserve=False).start()
    assert stream.route(TOLD).model == 1  # -.5 + .05 against -.9 + .2
    assert stream.prices.vector == pytest.approx([0.05 + 0.1 * (4 - 8 / 4)])
    assert stream.route(TOLD).model == 0  # -.5 + .25 against -.9 + 1
    assert stream.prices.vector == pytest.approx([0.25 + 0.1 * (1 - 4 / 3)])


def test_what_is_observed_corrects_what_was_booked():
    stream = Policy.of(planned([Budget(8)], prices=[0.05]), step=0.5, reserve=False).start()
    decision = stream.route(TOLD)
    stream.observe(decision, {"cost": 5.0, "quality": 0.0, "unread": 1.0})
    assert stream.residuals()[0].tolist() == [3]
    assert stream.prices.vector == pytest.approx([0.05 + 0.1 * (5 - 2)])


def test_a_queue_starts_empty_and_keeps_its_target():
    stream = Policy.of(planned([Budget(8)], prices=[0.05]), update="queue", step=0.5).start()
    assert stream.prices.vector.tolist() == [0]
    stream.route(TOLD)
    stream.route(TOLD)
    # 4 - 2 above, then 1 - 2 or 4 - 2 with the target still 2: at .2 per USD small is cheaper.
    assert stream.prices.vector == pytest.approx([0.1 * (2 - 1)])


def test_a_full_model_is_not_chosen():
    plan = planned([Capacity({"large": 2})], prices=[[0.0]])
    models, _ = routed(Policy.of(plan, update="fixed"), [TOLD] * 4)
    assert models == [1, 1, 0, 0]
    plan = planned([ShareCap({"large": 0.5, "small": 1.0})], prices=[[0.0, 0.0]])
    assert routed(Policy.of(plan, update="fixed"), [TOLD] * 4)[0] == [1, 1, 0, 0]


def test_a_capacity_of_the_only_model_is_a_hard_stop():
    outcomes = Outcomes.from_arrays([[1.0]] * 2, [[0.5]] * 2, ("only",))
    stream = Policy.of(solve(outcomes, maximize="quality", limits=[Capacity(2)])).start()
    for _ in range(2):
        stream.route({"cost": 1.0, "quality": 0.5})
    with pytest.raises(PolicyError, match="used up are only"):
        stream.route({"cost": 1.0, "quality": 0.5})


def test_a_limit_that_the_plan_takes_nothing_of_has_a_price_that_can_rise():
    # The small model is free and answers all; once it is down, only the large one spends.
    outcomes = table(cost=(0.0, 4.0))
    plan = verify(outcomes, np.zeros(4, np.intp), prices=Prices((np.zeros(1),)),
                  limits=[Budget(4)], minimize="cost")  # fmt: skip
    stream = Policy.of(plan, reserve=False).start()
    stream.down("small")
    stream.route({"cost": [0, 4], "quality": [0.5, 0.9]})
    assert stream.prices.vector[0] > 0


def test_a_batch_is_routed_whole_or_not_at_all():
    stream = Policy.of(planned([Capacity(4)], prices=[[0.1, 0.0]]), update="mirror").start()
    stream.set_residual("capacity", 1)
    before = stream.to_dict()
    for batch in (stream.route_batch, stream.optimize_batch):
        with pytest.raises(PolicyError, match="no model can take query 2"):
            batch(table(3))
        assert stream.to_dict() == before
    assert [decision.model for decision in stream.route_batch(table(2))] == [1, 0]


def test_what_goes_least_beyond_is_chosen_alike_after_a_restart():
    # Hardly anything is left of either limit. A query usually takes 1 USD and 9 s; this one 90 s
    # of the small model, ten times that, or 4 USD of the large one, four times.
    outcomes = table(columns={"seconds": [(9.0, 1.0)] * 4})
    plan = verify(outcomes, np.zeros(4, np.intp), prices=Prices((np.zeros(1), np.zeros(1))),
                  limits=[Budget(8), MetricCap("seconds", total=40)],
                  maximize="quality")  # fmt: skip
    told = TOLD | {"seconds": [90.0, 1.0]}
    stream = Policy.of(plan, update="fixed").start()
    stream.set_residual("budget", 1e-6)
    stream.set_residual("seconds_cap", 0.5)
    again = stream.remaining().start()
    assert [one.route(told).name for one in (stream, again)] == ["large", "large"]


def test_a_moment_that_is_no_number_changes_nothing():
    stream = Policy.of(planned([Budget(8)], prices=[0.05]), span=100.0).start()
    for moment in (np.inf, np.nan):
        with pytest.raises(PolicyError, match="give seconds since the start"):
            stream.route(TOLD, now=moment)
    assert (stream.seen, stream.now, stream.to_come) == (0, 0.0, 4.0)


def test_a_share_owed_is_given_before_it_is_too_late():
    plan = planned([MinShare({"small": 0.5})], prices=[[0.0]])
    models, stream = routed(Policy.of(plan, update="fixed"), [TOLD] * 4)
    assert models == [1, 1, 0, 0]
    assert stream.residuals()[0].tolist() == [0]


def test_outages_and_what_is_left_are_told_at_any_moment():
    stream = Policy.of(planned([Capacity(4)], prices=[[0.0, 0.0]]), update="fixed").start()
    stream.down("large")
    decision = stream.route(TOLD)
    assert (decision.name, decision.stopped) == ("small", True)
    assert stream.available == ("small",)
    stream.up("large")
    assert stream.route(TOLD).name == "large"
    stream.set_residual("capacity", {"large": 1})
    assert [stream.route(TOLD).name for _ in range(2)] == ["large", "small"]
    stream.set_residual("capacity", 0)
    with pytest.raises(PolicyError, match=r"no model can take query 4: used up are small, large"):
        stream.route(TOLD)


def test_limits_grow_with_the_horizon():
    policy = Policy.of(planned([Budget(8), QualityFloor(mean=0.5)], prices=[0, 0]), horizon=10)
    assert [account.limit.tolist() for account in policy.accounts] == [[20], [-5]]


def test_queries_to_come_in_a_span_follow_the_rate_seen():
    stream = Policy.of(planned([Budget(8)], prices=[0.05]), span=100.0).start()
    assert stream.to_come == 4
    for _ in range(4):
        stream.route(TOLD, now=50.0)
    # 4 planned in 100 s and 4 seen in 50 s: 8 / 150 a second, for 50 s more.
    assert stream.to_come == pytest.approx(8 / 150 * 50)


def test_a_batch_by_the_solver_is_the_plan_of_it():
    outcomes = Outcomes.from_arrays([[1, 4]] * 4, [[0.5, 0.8], [0.7, 0.8], [0.2, 0.8], [0.9, 0.7]])
    limits = [Budget(10), Capacity(2)]
    plan = solve(outcomes, maximize="quality", limits=limits)
    stream = Policy.of(plan).start()
    decisions = stream.optimize_batch(outcomes)
    assert [decision.model for decision in decisions] == plan.assignment.tolist()
    assert stream.residuals()[0].tolist() == [0]
    stream = Policy.of(plan).start()
    few = stream.optimize_batch(outcomes.take(np.arange(2)), concurrent=1)
    # Half of the budget buys one upgrade, of query 0; one request each fits that.
    assert [decision.model for decision in few] == [1, 0]


def test_a_batch_that_cannot_keep_its_share_is_routed_one_by_one():
    plan = planned([Budget(4)], prices=[0.0])
    stream = Policy.of(plan).start()
    stream.spend("budget", 2)
    assert [d.model for d in stream.optimize_batch(table(2), concurrent=2)] == [0, 0]


# Properties ---------------------------------------------------------------------------------


@st.composite
def streams(draw, max_queries=12):
    """A table, a permutation of its queries, and a table of what really happens."""
    n, m = draw(st.integers(1, max_queries)), draw(st.integers(2, 4))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    grids = [rng.random((n, m)) for _ in range(4)]
    order = draw(st.permutations(range(n)))
    told = Outcomes.from_arrays(grids[0] + 0.1, grids[1])
    return told, Outcomes.from_arrays(grids[2] + 0.1, grids[3]), list(order)


def rows_of(outcomes, i):
    return {name: grid[i] for name, grid in outcomes.columns.items()}


@settings(deadline=None, max_examples=40)
@given(streams(), st.floats(0.01, 2), st.floats(0, 1), st.randoms(use_true_random=False))
def test_at_true_prices_the_policy_is_the_plan_in_any_order(stream, price, other, random):
    told, _, order = stream
    n, m = told.n_queries, told.n_models
    crowd = np.array([other * random.random() for _ in range(m)])
    priced = price * told.column("cost") + crowd - told.column("quality")
    plain = np.sort(priced, axis=1)
    assume((plain[:, 1] - plain[:, 0]).min() > 1e-6)
    assignment = priced.argmin(axis=1)
    used = np.bincount(assignment, minlength=m)
    spent = float(told.column("cost")[np.arange(n), assignment].sum())
    # Limits at what this routing takes: at the same prices it is optimal, and the only one.
    limits = [Budget(spent), Capacity({f"m{j}": int(used[j]) for j in range(m)})]
    plan = verify(told, assignment, prices=Prices((np.array([price]), crowd)), limits=limits,
                  maximize="quality")  # fmt: skip
    assert plan.certificate.feasible
    at_work = Policy.of(plan, update="fixed", reserve=False).start()
    assert all(at_work.route(rows_of(told, i)).model == assignment[i] for i in order)


@settings(deadline=None, max_examples=60)
@given(streams(), st.sampled_from(["mirror", "queue", "fixed"]), st.data())
def test_capacities_are_never_exceeded_and_use_adds_up(stream, update, data):
    told, truth, order = stream
    n, m = told.n_queries, told.n_models
    least = -(-n // m)
    room = {f"m{j}": data.draw(st.integers(least, n + 1)) for j in range(m)}
    limits = [Budget(1.2 * n), QualityFloor(total=0.0), Capacity(room)]
    plan = solve(told, maximize="quality", limits=limits)
    at_work = Policy.of(plan, update=update, step=data.draw(st.floats(0, 10))).start(told.models)
    models = np.full(n, -1)
    for i in order:
        decision = at_work.route(rows_of(told, i))
        models[i] = decision.model
        seen = {name: float(grid[i, decision.model]) for name, grid in truth.columns.items()}
        at_work.observe(decision, seen)
    assert (np.bincount(models, minlength=m) <= list(room.values())).all()
    assert (at_work.prices.vector >= 0).all()
    used = formulate(truth, maximize="quality", limits=limits).use(models)
    assert np.concatenate(at_work.spent()) == pytest.approx(used)
    left = np.concatenate(at_work.residuals()) + used
    assert left == pytest.approx(plan.problem.limit)


@settings(deadline=None, max_examples=30)
@given(streams(), st.data())
def test_a_capacity_of_a_column_is_never_exceeded_as_predicted(stream, data):
    told, _, order = stream
    most = 1.1 * told.n_queries  # all of the largest costs: some model always has room
    room = {f"m{j}": data.draw(st.floats(0.1, most)) for j in range(told.n_models - 1)}
    limits = [Capacity(room, column="cost")]
    at_work = Policy.of(solve(told, maximize="quality", limits=limits)).start()
    for i in order:
        at_work.route(rows_of(told, i))
    assert (at_work.spent()[0] <= np.array(list(room.values())) * (1 + 1e-8)).all()


@settings(deadline=None, max_examples=30)
@given(streams(), st.integers(0, 12))
def test_a_policy_written_half_way_goes_on_alike(tmp_path_factory, stream, half):
    told, truth, order = stream
    plan = solve(told, maximize="quality", limits=[Budget(1.1 * told.n_queries), Capacity(20)])
    whole = Policy.of(plan).start()
    path = tmp_path_factory.mktemp("policy") / "policy.json"
    write_policy(path, Policy.of(plan))
    again = read_policy(path).start(told.models)
    for place, i in enumerate(order):
        if place == half:
            write_policy(path, again.remaining())
            again = read_policy(path).start(told.models)
        first, second = (stream.route(rows_of(told, i)) for stream in (whole, again))
        assert first.model == second.model
        seen = {name: float(grid[i, first.model]) for name, grid in truth.columns.items()}
        whole.observe(first, seen)
        again.observe(second, seen)
        assert whole.prices.vector == pytest.approx(again.prices.vector, abs=1e-9)


def test_a_batch_routes_as_its_queries_one_by_one():
    draw = np.random.default_rng(4)
    told = Outcomes.from_arrays(draw.random((30, 3)), draw.random((30, 3)))
    policy = Policy.of(solve(told, maximize="quality", limits=[Budget(12), Capacity(12)]))
    one, many, dense = policy.start(), policy.start(), policy.start()
    each = [one.route(rows_of(told, i)).model for i in range(30)]
    assert [decision.model for decision in many.route_batch(told)] == each
    stack = np.stack([told.columns[name] for name in policy.columns], axis=1)
    assert [dense.route(values).model for values in stack] == each


# Files --------------------------------------------------------------------------------------


def test_the_file_says_in_the_users_sense_what_another_language_needs(tmp_path):
    limits = [Budget(8), QualityFloor(mean=0.5), Capacity({"large": 2})]
    policy = Policy.of(planned(limits, prices=[0.05, 0.0, [0.0]]))
    path = tmp_path / "policy.json"
    write_policy(path, policy)
    content = json.loads(path.read_text("utf-8"))
    assert content["objective"] == {"sense": "maximize", "terms": {"quality": 1.0}}
    budget, floor, capacity = content["limits"]
    assert (budget["column"], budget["limit"], budget["least"]) == ("cost", [8], [1])
    assert (floor["relation"], floor["limit"]) == (">=", [2])
    assert floor["least"] == pytest.approx([0.7])  # two on large, two on small, at most
    assert (capacity["column"], capacity["pool_of_model"]) == (None, [-1, 0])
    again = read_policy(path)
    assert again.terms == policy.terms == {"quality": -1.0}
    assert [a.labels for a in again.accounts] == [(), (), ("large",)]


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    policy = Policy.of(planned([Budget(8)], prices=[0.05]))
    with pytest.raises(TableError, match="does not exist"):
        write_policy(tmp_path / "none" / "policy.json", policy)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "dualroute plan"}, "no policy of dualroute's"),
        ({"version": 2}, "policy version 2, and this program reads up to 1; update"),
        ({"version": None}, "policy version None"),
        ({"models": "small"}, "field 'models' is 'small'"),
        ({"models": ["small"]}, "does not fit 1 models"),
        ({"horizon": 0}, "the horizon is 0.0; give a number of queries"),
        ({"horizon": "many"}, "field 'horizon' is 'many'"),
        ({"update": "newton"}, "no update 'newton'; choose one of mirror, queue, fixed"),
        ({"limits": [3]}, "a limit is 3"),
        ({"objective": {"sense": "best", "terms": {}}}, "'sense' is 'best'"),
        ({"objective": {"sense": "minimize", "terms": {}}}, "an objective made of columns"),
        ({"step": -1}, "the step is -1"),
        ({"horizon": 10**400}, "field 'horizon' is 1000"),
        ({"models": ["small", "small"]}, "model 'small' is named twice"),
        ("price", "price or gain is below 0"),
        ("pool", "names a pool outside 0 .. 0"),
        ("far", "'pool_of_model' holds something other than numbers of pools"),
        ("twice", "limit 'budget' is named twice"),
        ("none", "limit 'budget' holds no pool; leave it out"),
        ("relation", "field 'relation' is '<'"),
    ],
)
def test_a_file_that_is_no_policy(tmp_path, change, message):
    path = tmp_path / "policy.json"
    write_policy(path, Policy.of(planned([Budget(8)], prices=[0.05])))
    content = json.loads(path.read_text("utf-8"))
    if isinstance(change, dict):
        content |= change
    else:
        (limit,) = content["limits"]
        if change == "twice":
            content["limits"].append(limit)
        none = {"pool_of_model": [-1, -1], "limit": [], "price": [], "gain": [], "least": []}
        limit |= {"price": {"price": [-1.0]}, "pool": {"pool_of_model": [0, 1]}, "twice": {},
                  "far": {"pool_of_model": [0, 10**30]}, "none": none,
                  "relation": {"relation": "<"}}[change]  # fmt: skip
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(PolicyError, match=message) as raised:
        read_policy(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_absent_or_not_json(tmp_path):
    with pytest.raises(PolicyError, match="cannot be read"):
        read_policy(tmp_path / "policy.json")
    (tmp_path / "policy.json").write_text("{", encoding="utf-8")
    with pytest.raises(PolicyError, match="not valid JSON"):
        read_policy(tmp_path / "policy.json")


# Bad input ----------------------------------------------------------------------------------


def test_no_policy_without_a_plan_that_holds():
    plan = solve(table(), maximize="quality", limits=[Budget(2)])
    with pytest.raises(PolicyError, match="no policy without a feasible plan"):
        Policy.of(plan)


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        (Budget({"a": 9}, by="tenant"), "limit 'budget' is per group of queries"),
        (Capacity(4, by="tenant"), "limit 'capacity' is per group of queries"),
        (MetricCap("cost", mean=9, by="tenant"), "per group"),
    ],
)
def test_limits_per_group_are_refused(limit, message):
    outcomes = table(attributes={"tenant": ["a", "a", "b", "b"]})
    with pytest.raises(PolicyError, match=message):
        Policy.of(solve(outcomes, maximize="quality", limits=[limit]))


def test_an_objective_or_limit_that_is_no_column():
    plan = planned([Budget(8)], prices=[0.05])
    with pytest.raises(PolicyError, match="not made of columns"):
        Policy.of(replace(plan, problem=replace(plan.problem, terms={})))
    (rows,) = plan.problem.rows
    odd = replace(plan.problem, rows=(replace(rows, column=""),))
    with pytest.raises(PolicyError, match="neither counts requests nor reads a column"):
        Policy.of(replace(plan, problem=odd))
    with pytest.raises(PolicyError, match="has no prices"):
        Policy.of(replace(plan, solution=replace(plan.solution, prices=None)))


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"cost": [1, 4]}, "no prediction of column 'quality'; given cost, the policy reads"),
        ({"cost": [1, 4], "quality": [0.5] * 3}, r"'quality' has shape \(3,\).*each of the 2"),
        ({"cost": [1, np.nan], "quality": 0.5}, "'cost', model 'large': predicted nan"),
        ({"cost": [np.inf, -np.inf], "quality": 0.5}, "'cost', model 'small': predicted inf"),
        ({"cost": [1, 1e300], "quality": 0.5}, "predicted 1e.300; give a finite number, of at"),
        (np.zeros((3, 2)), r"shape \(3, 2\); give 2 columns \(quality, cost\) x 2 models"),
    ],
)
def test_predictions_that_cannot_be_read(told, message):
    stream = Policy.of(planned([Budget(8)], prices=[0.05])).start()
    with pytest.raises(PolicyError, match=message):
        stream.route(told)
    assert stream.seen == 0


def test_a_stream_of_other_models_and_a_budget_already_spent():
    policy = Policy.of(planned([Budget(8)], prices=[0.05]))
    with pytest.raises(PolicyError, match=r"other models than the stream's \(large, tiny\)"):
        policy.start(("small", "tiny"))
    with pytest.raises(PolicyError, match="their order"):
        policy.start(("large", "small"))
    with pytest.raises(PolicyError, match=r"the budget of 8 cost is spent \(left: 0\)"):
        policy.start(spent={"budget": 8})
    stream = policy.start(spent={"budget": 3})
    assert stream.residuals()[0].tolist() == [5]
    with pytest.raises(PolicyError, match="table is of other models"):
        stream.route_batch(Outcomes.from_arrays([[1, 2]], [[0, 1]]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.down("tiny"), "no model 'tiny'; the policy has small, large"),
        (lambda s: s.set_residual("capacity", 1), "no limit 'capacity'; the policy has budget"),
        (lambda s: s.set_residual("budget", {"small": 1}), "has no 'small'; it has one number"),
        (lambda s: s.spend("budget", np.nan), "give finite numbers"),
        (lambda s: s.route(TOLD, now=3.0), "the policy counts queries; make it with span="),
        (lambda s: s.route(TOLD, allowed=[True]), r"allowed has shape \(1,\)"),
        (
            lambda s: s.observe(s.route(TOLD), {"cost": np.inf}),
            "observed inf; give a finite",
        ),
        (lambda s: s.observe(s.route(TOLD), {"cost": None}), "observed None; give a finite"),
        (lambda s: s.spend("budget", None), "found None; give finite numbers"),
        (lambda s: s.route(TOLD, allowed=[False, False]), "none is up and allowed"),
        (lambda s: s.optimize_batch(table(), concurrent=-1), "concurrent is -1; give numbers"),
        (lambda s: s.optimize_batch(table(), concurrent={"small": np.nan}), "concurrent is"),
    ],
)
def test_calls_that_cannot_be_followed(call, message):
    stream = Policy.of(planned([Budget(8)], prices=[0.05])).start()
    with pytest.raises(PolicyError, match=message):
        call(stream)


def test_a_plan_that_forbids_pairs_asks_for_them():
    outcomes = table(attributes={"tenant": ["a", "a", "b", "b"]})
    only = AllowedModels({"a": ["small"]}, by="tenant")
    stream = Policy.of(solve(outcomes, maximize="quality", limits=[Budget(12), only])).start()
    with pytest.raises(PolicyError, match="give allowed= with each query"):
        stream.route(TOLD)
    assert stream.route(TOLD, allowed=[True, False]).name == "small"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"horizon": 0}, "horizon is 0"),
        ({"span": -1}, "the span is -1"),
        ({"step": np.inf}, "the step is inf"),
        ({"update": "sgd"}, "no update 'sgd'"),
    ],
)
def test_parameters_out_of_range(change, message):
    with pytest.raises(PolicyError, match=message):
        Policy.of(planned([Budget(8)], prices=[0.05]), **change)


def test_where_a_stream_stands_is_plain_json():
    stream = Policy.of(planned([Budget(8), QualityFloor(mean=0.1)], prices=[0.05, 0])).start()
    stream.route(TOLD)
    stream.down("small")
    told = json.loads(json.dumps(stream.to_dict(), allow_nan=False))
    assert (told["seen"], told["to_come"], told["down"]) == (1, 3, ["small"])
    assert [line["use"] for line in told["limits"]] == [4, 0.9]
    assert [line["relation"] for line in told["limits"]] == ["<=", ">="]


def test_solve_writes_a_policy_on_the_command_line(tmp_path, capsys, monkeypatch):
    rows = "".join(f"q{i},a,1,0.5\nq{i},b,3,1\n" for i in range(4))
    (tmp_path / "table.csv").write_text("query_id,model,cost,quality\n" + rows)

    def run(*words):
        asked = ("solve", tmp_path / "table.csv", "--maximize", "quality", *words)
        monkeypatch.setattr("sys.argv", ["dualroute", *map(str, asked)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, capsys.readouterr().err

    file = tmp_path / "policy.json"
    assert run("--budget", "8", "--policy", file, "--horizon", "40")[0] == 0
    policy = read_policy(file)
    assert policy.models == ("a", "b")
    assert policy.horizon == 40
    assert policy.accounts[0].limit.tolist() == [80]  # 8 USD for four queries, for forty
    status, err = run("--horizon", "40")
    assert (status, err.count("\n")) == (2, 1)
