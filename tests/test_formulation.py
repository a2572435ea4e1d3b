"""Limits in the user's words: each one against a plain recomputation over the table."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import routings, small_outcomes

from dualroute.errors import OptionError, ProblemError, RoutingError, TableError
from dualroute.formulation import (
    AllowedModels,
    Budget,
    Capacity,
    ContextWindow,
    Limit,
    MetricCap,
    MinShare,
    QualityFloor,
    Restriction,
    ShareCap,
    formulate,
    parse_objective,
)
from dualroute.outcomes import Outcomes

TABLE = Outcomes.from_arrays(
    cost=[[1, 4], [2, 4], [1, 8], [0.5, 4]],
    quality=[[1, 1], [0, 1], [0.5, 0.75], [0.25, 1]],
    models=["small", "large"],
    columns={"latency": [[0.5, 2.0]], "input_tokens": [[100], [200], [300], [400]]},
    attributes={"tenant": ["a", "b", "a", "a"], "hour": [9, 9, 10, 10]},
)
ALL_SMALL, ALL_LARGE = np.zeros(4, int), np.ones(4, int)


def entry(outcomes, column, i, j):
    """One number of the table, read the slow way."""
    grid = outcomes.columns[column]
    return float(grid[i if len(grid) > 1 else 0, j if len(grid[0]) > 1 else 0])


def taken(outcomes, routing, column, by=None, per_model=False):
    """Sum of a column (or the count of requests) by group, by model, or by both."""
    sums = defaultdict(float)
    for i, j in enumerate(routing):
        label = f"{by}={outcomes.attributes[by][i]}" if by else ""
        if per_model:
            label = f"{outcomes.models[j]}, {label}" if by else outcomes.models[j]
        sums[label] += 1.0 if column is None else entry(outcomes, column, i, j)
    return sums


def in_words(rows, routing):
    """Label to (use, limit), in the sense that the user gave the limit in."""
    sign = -1.0 if rows.at_least else 1.0
    labels = rows.labels or ("",)
    return {
        label: (sign * use, sign * limit)
        for label, use, limit in zip(labels, rows.use(routing), rows.limit, strict=True)
    }


def agrees(outcomes, rows, routing, sums, limits):
    """Every row holds the sum and the limit that were recomputed, and there are no others."""
    found = in_words(rows, routing)
    assert set(found) == set(limits)
    for label, (use, limit) in found.items():
        assert use == pytest.approx(sums[label], abs=1e-12)
        assert limit == pytest.approx(limits[label], abs=1e-12)


def group_sizes(outcomes, by):
    sizes = defaultdict(int)
    for value in outcomes.attributes[by]:
        sizes[f"{by}={value}"] += 1
    return sizes


# ---------------------------------------------------------------- limits, recomputed


@pytest.mark.parametrize("by", [None, "tenant", "hour"])
@pytest.mark.parametrize(
    ("make", "column", "averaged", "at_least"),
    [
        (lambda by: Budget(0.4, by=by), "cost", False, False),
        (lambda by: Budget(300, column="input_tokens", by=by), "input_tokens", False, False),
        (lambda by: QualityFloor(mean=0.4, by=by), "quality", True, True),
        (lambda by: QualityFloor(total=0.4, by=by), "quality", False, True),
        (lambda by: QualityFloor(mean=0.4, column="latency", by=by), "latency", True, True),
        (lambda by: MetricCap("latency", mean=0.4, by=by), "latency", True, False),
        (lambda by: MetricCap("latency", total=-0.4, by=by), "latency", False, False),
    ],
)
@settings(max_examples=20)
@given(outcomes=small_outcomes(), data=st.data())
def test_sums_over_the_batch_and_over_groups(make, column, averaged, at_least, by, outcomes, data):
    routing = data.draw(routings(outcomes.n_queries, outcomes.n_models))
    limit = make(by)
    amount = limit.mean if averaged else limit.total
    sizes = group_sizes(outcomes, by) if by else {"": outcomes.n_queries}
    rows = limit.rows(outcomes)
    assert rows.at_least == at_least
    assert rows.unit == column
    limits = {label: amount * (size if averaged else 1) for label, size in sizes.items()}
    agrees(outcomes, rows, routing, taken(outcomes, routing, column, by), limits)


@pytest.mark.parametrize("by", [None, "tenant", "hour"])
@pytest.mark.parametrize(
    ("make", "column", "share", "at_least"),
    [
        (lambda by: Capacity(2, by=by), None, False, False),
        (lambda by: Capacity(500, column="input_tokens", by=by), "input_tokens", False, False),
        (lambda by: Capacity({"small": 3}, by=by), None, False, False),
        (lambda by: ShareCap(0.6, by=by), None, True, False),
        (lambda by: ShareCap({"small": 0.25}, by=by), None, True, False),
        (lambda by: MinShare(0.1, by=by), None, True, True),
        (lambda by: MinShare({"small": 0.5}, by=by), None, True, True),
    ],
)
@settings(max_examples=20)
@given(outcomes=small_outcomes(), data=st.data())
def test_limits_of_models_and_of_models_in_groups(
    make, column, share, at_least, by, outcomes, data
):
    routing = data.draw(routings(outcomes.n_queries, outcomes.n_models))
    limit = make(by)
    amount = limit.share if share else limit.limit
    named = amount if isinstance(amount, dict) else dict.fromkeys(outcomes.models, amount)
    sizes = group_sizes(outcomes, by) if by else {"": outcomes.n_queries}
    rows = limit.rows(outcomes)
    assert rows.at_least == at_least
    assert rows.unit == (column or "requests")
    limits = {
        f"{model}, {group}" if by else model: each * (size if share else 1)
        for group, size in sizes.items()
        for model, each in named.items()
    }
    agrees(outcomes, rows, routing, taken(outcomes, routing, column, by, True), limits)


def test_amounts_per_group_leave_other_groups_unlimited():
    # Tenant a asks queries 0, 2, 3: all small they cost 1 + 1 + .5, all large 4 + 8 + 4.
    rows = Budget({"a": 5}, by="tenant").rows(TABLE)
    assert in_words(rows, ALL_SMALL) == {"tenant=a": (2.5, 5.0)}
    assert in_words(rows, ALL_LARGE) == {"tenant=a": (16.0, 5.0)}
    both = Budget({"b": 1, "a": 5}, by="tenant").rows(TABLE)
    assert in_words(both, ALL_SMALL) == {"tenant=b": (2.0, 1.0), "tenant=a": (2.5, 5.0)}


def test_means_per_group_count_the_queries_of_their_own_group():
    # Hours 9 and 10 hold two queries each, tenants a and b three and one.
    rows = QualityFloor(mean={10: 0.5, 9: 0.25}, by="hour").rows(TABLE)
    assert in_words(rows, ALL_SMALL) == {"hour=10": (0.75, 1.0), "hour=9": (1.0, 0.5)}
    rows = QualityFloor(mean={"b": 1.0, "a": 0.5}, by="tenant").rows(TABLE)
    assert in_words(rows, ALL_LARGE) == {"tenant=b": (1.0, 1.0), "tenant=a": (2.75, 1.5)}


def test_capacity_of_named_models_in_the_order_given():
    rows = Capacity({"large": 2, "small": 3}, column="input_tokens").rows(TABLE)
    assert in_words(rows, np.array([0, 1, 0, 1])) == {"large": (600.0, 2.0), "small": (400.0, 3.0)}


def test_roles_find_columns_of_other_names():
    table = Outcomes(
        models=("a",),
        columns={"usd": np.array([[2.0], [3.0]]), "score": np.array([[0.5], [1.0]])},
        cost="usd",
        quality="score",
    )
    assert Budget(1).rows(table).unit == "usd"
    assert QualityFloor(mean=0.5).rows(table).use(np.zeros(2, int)).tolist() == [-1.5]
    assert formulate(table, minimize="cost").unit == "usd"


@given(outcomes=small_outcomes(), data=st.data())
def test_a_context_window_lets_through_what_fits(outcomes, data):
    window = data.draw(st.integers(0, 500))
    grid = ContextWindow({"small": window}).allowed(outcomes)
    allowed = np.broadcast_to(grid, (outcomes.n_queries, outcomes.n_models))
    for i in range(outcomes.n_queries):
        for j, model in enumerate(outcomes.models):
            fits = entry(outcomes, "input_tokens", i, j) <= window
            assert allowed[i, j] == (model != "small" or fits)


@given(outcomes=small_outcomes())
def test_a_policy_holds_for_its_own_group(outcomes):
    present = set(outcomes.attributes["tenant"].tolist())
    policy = {"acme": ["small"]} if "acme" in present else {"zeta": []}
    grid = AllowedModels(policy, by="tenant").allowed(outcomes)
    for i, tenant in enumerate(outcomes.attributes["tenant"]):
        for j, model in enumerate(outcomes.models):
            assert grid[i, j] == (tenant not in policy or model in policy[tenant])


def test_restrictions_forbid_pairs_and_hold_all_at_once():
    problem = formulate(
        TABLE,
        minimize="cost",
        limits=[
            ContextWindow({"small": 250}),
            AllowedModels({"b": ["small"]}, by="tenant"),
            Budget(100),
        ],
        allowed=np.array([[True, False], [True, True], [True, True], [True, True]]),
    )
    inf = np.inf
    assert problem.objective.tolist() == [[1, inf], [2, inf], [inf, 8], [inf, 4]]
    assert [rows.name for rows in problem.rows] == ["budget"]
    listed = formulate(TABLE, minimize="cost", limits=[AllowedModels(["large"])])
    assert listed.objective.tolist() == [[inf, 4], [inf, 4], [inf, 8], [inf, 4]]


# ---------------------------------------------------------------- objectives


@given(outcomes=small_outcomes(), data=st.data())
def test_objectives_are_the_weighted_columns(outcomes, data):
    routing = data.draw(routings(outcomes.n_queries, outcomes.n_models))

    def total(**weights):
        pairs = list(enumerate(routing))
        return sum(w * entry(outcomes, c, i, j) for c, w in weights.items() for i, j in pairs)

    def value(**objective):
        problem = formulate(outcomes, **objective)
        return problem.reported(problem.value(routing))

    # Columns may be float32, whose weighted sums carry its seven digits.
    mix = {"cost": 1, "latency": 0.01}
    assert value(minimize="cost") == pytest.approx(total(cost=1), abs=1e-12)
    assert value(maximize="quality") == pytest.approx(total(quality=1), abs=1e-12)
    assert value(minimize=mix) == pytest.approx(total(**mix), abs=1e-5)
    gain = {"quality": 2.0, "cost": -0.5}
    assert value(maximize=gain) == pytest.approx(total(**gain), abs=1e-5)


def test_a_maximised_objective_is_stored_negated():
    problem = formulate(TABLE, maximize="quality")
    assert problem.maximize
    assert problem.unit == "quality"
    assert problem.models == ("small", "large")
    assert problem.objective.tolist() == [[-1, -1], [0, -1], [-0.5, -0.75], [-0.25, -1]]
    assert problem.reported(problem.value(ALL_LARGE)) == 3.75
    assert formulate(TABLE, minimize={"cost": 1, "latency": 0.5}).unit == "cost + 0.5*latency"


def test_a_single_column_is_shared_and_not_copied():
    problem = formulate(TABLE, minimize="cost")
    assert np.shares_memory(problem.objective, TABLE.column("cost"))
    assert not problem.maximize


def test_a_column_of_one_line_is_the_objective_of_every_query():
    problem = formulate(TABLE, minimize="latency", tolerance=1e-6)
    assert problem.objective.tolist() == [[0.5, 2.0]] * 4
    assert problem.tolerance == 1e-6


@pytest.mark.parametrize(
    ("text", "objective"),
    [
        ("cost", "cost"),
        ("  cost ", "cost"),
        ("1*cost", "cost"),
        ("cost_usd + 0.002*latency_s", {"cost_usd": 1.0, "latency_s": 0.002}),
        ("2*cost - quality", {"cost": 2.0, "quality": -1.0}),
        ("-quality", {"quality": -1.0}),
        ("2 * cost+1e-3*latency", {"cost": 2.0, "latency": 0.001}),
        ("cost + cost", {"cost": 2.0}),
        (".5*cost", {"cost": 0.5}),
        ("gpu-seconds", "gpu-seconds"),
        ("cost - gpu-seconds", {"cost": 1.0, "gpu-seconds": -1.0}),
    ],
)
def test_objectives_written_out_are_read(text, objective):
    assert parse_objective(text) == objective


@pytest.mark.parametrize(
    "text",
    ["", "   ", "cost +", "+", "cost cost", "3*", "1.2.3*cost", "cost * 2", "2**cost", "cost ++ x",
     "*cost", ".*cost", "cost -"],
)  # fmt: skip
def test_what_is_no_sum_of_columns_is_refused(text):
    with pytest.raises(OptionError, match="objective"):
        parse_objective(text)


# ---------------------------------------------------------------- names


def test_limits_of_one_kind_get_names_of_their_own():
    limits = [Capacity(3), Budget(9), Capacity(5, by="hour"), Capacity({"small": 1})]
    problem = formulate(TABLE, minimize="cost", limits=limits)
    names = [rows.name for rows in problem.rows]
    assert names == ["capacity", "budget", "capacity_2", "capacity_3"]
    assert problem.rows[2].labels == (
        "small, hour=10",
        "large, hour=10",
        "small, hour=9",
        "large, hour=9",
    )
    caps = [MetricCap("latency", mean=1), MetricCap("input_tokens", total=9)]
    problem = formulate(TABLE, minimize="cost", limits=caps)
    assert [rows.name for rows in problem.rows] == ["latency_cap", "input_tokens_cap"]


def test_limits_and_restrictions_are_told_apart_by_what_they_give():
    for limit in (Budget(1), Capacity(1), ShareCap(1), MinShare(0), QualityFloor(mean=0)):
        assert isinstance(limit, Limit)
        assert not isinstance(limit, Restriction)
    for restriction in (ContextWindow(1), AllowedModels(["small"])):
        assert isinstance(restriction, Restriction)
        assert not isinstance(restriction, Limit)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("limit", "error", "message"),
    [
        (Capacity({"lagre": 3}), TableError, "no model 'lagre' in the table; did you mean large"),
        (ShareCap({"smal": 0.5}), TableError, "did you mean small"),
        (AllowedModels(["medium"]), TableError, "no model 'medium'"),
        (ContextWindow({"huge": 5}), TableError, "no model 'huge'"),
        (Budget(3, column="euros"), TableError, "no column 'euros'; the table has 'cost'"),
        (MetricCap("carbon", mean=1), TableError, "no column 'carbon'"),
        (Capacity(3, column="tokens"), TableError, "no column 'tokens'"),
        (ContextWindow(5, column="length"), TableError, "no column 'length'"),
        (Budget(3, by="team"), TableError, "no attribute 'team'.*the table has 'tenant', 'hour'"),
        (
            Budget({"c": 3}, by="tenant"),
            TableError,
            "no query has tenant = 'c'; the table has a, b",
        ),
        (
            AllowedModels({"c": ["small"]}, by="tenant"),
            TableError,
            "no query has tenant = 'c'",
        ),
        (Budget({"a": 3}), OptionError, "budget: one number per group needs by="),
        (Capacity({}), OptionError, "a limit per model names no model"),
        (ContextWindow(50), ProblemError, r"4 of 4 queries have no allowed model \(first: query 0"),
        (AllowedModels({"b": []}, by="tenant"), ProblemError, r"1 of 4 queries .*query 1"),
    ],
)
def test_a_limit_that_does_not_fit_the_table_says_why(limit, error, message):
    with pytest.raises(error, match=message):
        formulate(TABLE, minimize="cost", limits=[limit])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: QualityFloor(mean=1.5), "QualityFloor mean is 1.5; give a number between 0 and 1"),
        (lambda: QualityFloor(mean={"a": -0.5}), "QualityFloor mean is -0.5"),
        (lambda: QualityFloor(), "QualityFloor takes exactly one of mean= and total="),
        (lambda: QualityFloor(mean=0.5, total=3), "exactly one of mean= and total="),
        (lambda: QualityFloor(total=-1), "QualityFloor total is -1; give a number of at least 0"),
        (lambda: MetricCap("latency"), "MetricCap takes exactly one of"),
        (lambda: MetricCap("latency", mean=np.inf), "MetricCap is inf; give a number that is fin"),
        (lambda: Budget(-1), "Budget total is -1; give a number of at least 0"),
        (lambda: Budget(np.nan), "Budget total is nan"),
        (lambda: Budget(np.inf), "Budget total is inf"),
        (lambda: Budget(True), "Budget total is True; give a number"),
        (lambda: Budget(np.True_), "Budget total is .*True.*; give a number"),
        (lambda: Budget("9"), "Budget total is '9'; give a number"),
        (lambda: Budget(None), "Budget total is None; give a number"),
        (lambda: Capacity({"small": 3, "large": -1}), "Capacity limit is -1"),
        (lambda: Capacity({"small": False}), "Capacity limit is False; give a number"),
        (lambda: ShareCap(1.01), "ShareCap share is 1.01; give a number between 0 and 1"),
        (lambda: MinShare(-0.1), "MinShare share is -0.1"),
        (lambda: ContextWindow(-1), "ContextWindow tokens is -1"),
        (lambda: AllowedModels({"a": ["small"]}), "AllowedModels takes a list of models, or by="),
        (lambda: AllowedModels(["small"], by="tenant"), "AllowedModels takes a list of models"),
    ],
)
def test_numbers_out_of_range_are_refused_where_they_are_written(make, message):
    with pytest.raises(OptionError, match=message):
        make()


@pytest.mark.parametrize(
    "objective",
    [{}, {"minimize": "cost", "maximize": "quality"}],
)
def test_there_is_exactly_one_objective(objective):
    with pytest.raises(OptionError, match="exactly one of minimize= and maximize="):
        formulate(TABLE, **objective)


def test_an_objective_needs_known_columns_and_finite_weights():
    with pytest.raises(TableError, match="no column 'carbon'"):
        formulate(TABLE, minimize={"cost": 1, "carbon": 2})
    for weights in ({}, {"cost": np.nan}, {"cost": np.inf}):
        with pytest.raises(OptionError, match="columns with finite weights"):
            formulate(TABLE, minimize=weights)


def test_a_grid_of_allowed_pairs_must_fit():
    with pytest.raises(ProblemError, match=r"allowed pairs has shape \(3, 2\)"):
        formulate(TABLE, minimize="cost", allowed=np.ones((3, 2), bool))


def test_what_is_no_limit_is_refused_rather_than_ignored():
    for wrong in ("budget", {"budget": 9}, 9.0):
        with pytest.raises(RoutingError):
            formulate(TABLE, minimize="cost", limits=[wrong])


@pytest.mark.parametrize("limit", [ShareCap(0.29), MinShare(0.29)])
def test_shares_are_the_decimals_they_are_written_as(limit):
    # The double 0.29 times 100 is 28.999999999999996.
    table = Outcomes.from_arrays(np.ones((100, 2)), np.ones((100, 2)))
    assert np.abs(limit.rows(table).limit).tolist() == [29.0, 29.0]
