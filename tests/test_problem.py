"""The mathematics: weak duality, the gap identity, and limits checked without rounding."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import (
    every_feasible_routing,
    every_routing,
    exact_excess,
    exact_value,
    prices_for,
    routings,
    small_problems,
)

from dualroute.errors import ProblemError
from dualroute.problem import (
    Prices,
    RoutingProblem,
    Rows,
    allowed_pairs,
    lagrangian,
    price_pairs,
    regrets,
)

ONE = np.ones((1, 1))


def problem_of(objective, *rows, **options):
    return RoutingProblem(np.array(objective, float), rows, **options)


def drawn_routing(data, problem):
    return data.draw(routings(problem.n_queries, problem.n_models))


# ---------------------------------------------------------------- duality


@given(problem=small_problems(tolerance=0.0), data=st.data())
def test_any_prices_bound_every_feasible_routing(problem, data):
    bound = lagrangian(problem, data.draw(prices_for(problem))).value
    for routing in every_feasible_routing(problem):  # at most m**n of them, n <= 5
        assert bound <= problem.value(routing) + 1e-9


@given(problem=small_problems(), data=st.data())
def test_gap_is_regret_plus_priced_slack(problem, data):
    # Holds for any routing of allowed pairs and any prices, feasible or not.
    prices = data.draw(prices_for(problem))
    point = lagrangian(problem, prices)
    regret = regrets(problem, prices)
    size = 1 + np.abs(prices.vector) @ (np.abs(problem.limit) + problem.n_queries)
    for routing in every_routing(problem):
        value = problem.value(routing)
        if value == math.inf:
            continue
        slack = problem.limit - problem.use(routing)
        parts = regret[np.arange(problem.n_queries), routing].sum() + prices.vector @ slack
        assert value - point.value == pytest.approx(parts, abs=1e-12 * size)


@given(problem=small_problems(), data=st.data())
def test_the_inner_routing_attains_the_bound(problem, data):
    prices = data.draw(prices_for(problem))
    point = lagrangian(problem, prices)
    assert np.isfinite(problem.value(point.assignment))
    slack = np.concatenate([np.empty(0), *point.slack])
    assert slack.tolist() == (problem.limit - problem.use(point.assignment)).tolist()
    size = 1 + np.abs(prices.vector) @ (np.abs(problem.limit) + problem.n_queries)
    attained = problem.value(point.assignment) - prices.vector @ slack
    assert point.value == pytest.approx(attained, abs=1e-12 * size)


def test_lagrangian_of_a_budget_by_hand():
    # Small costs 1 USD, large 4. At 1/8 quality per USD a large answer costs .375 more, for .3,
    # .4 and .7 more quality: query 0 stays small at -.6 + .125, the others go large at
    # -.9 + .5: -.475 - .4 - .4 = -1.275, less 9 USD at 1/8: -2.4. Used: 1 + 4 + 4 = 9 USD.
    cost = Rows("budget", np.array([[1.0, 4.0]]), np.array([9.0]))
    problem = problem_of([[-0.6, -0.9], [-0.5, -0.9], [-0.2, -0.9]], cost)
    point = lagrangian(problem, Prices((np.array([0.125]),)))
    assert point.value == pytest.approx(-2.4, abs=1e-15)
    assert point.assignment.tolist() == [0, 1, 1]
    assert point.slack[0].tolist() == [0.0]
    free = lagrangian(problem, Prices((np.array([0.0]),)))
    assert free.value == pytest.approx(-2.7)
    assert free.assignment.tolist() == [1, 1, 1]
    assert free.slack[0].tolist() == [-3.0]


def test_lagrangian_of_a_floor_and_capacities_by_hand():
    # Costs 1 and 3, qualities .25 and .75, floor 1.0 on two queries, one request each.
    # Prices 2 on the floor, .5 on model 1's capacity: model 0 costs 1 - .5 = .5, model 1 costs
    # 3 - 1.5 + .5 = 2, so both go to 0: 1.0 + 2 * 1.0 - .5 * 1 = 2.5.
    floor = Rows("floor", -np.array([[0.25, 0.75]]), np.array([-1.0]), at_least=True)
    capacity = Rows("capacity", ONE, np.array([1.0, 1.0]), np.array([[0, 1]]))
    problem = problem_of([[1, 3], [1, 3]], floor, capacity)
    point = lagrangian(problem, Prices((np.array([2.0]), np.array([0.0, 0.5]))))
    assert point.value == 2.5
    assert point.assignment.tolist() == [0, 0]
    assert [slack.tolist() for slack in point.slack] == [[-0.5], [-1.0, 1.0]]


def test_ties_go_to_the_lowest_allowed_model():
    problem = problem_of([[1, 1, 1], [np.inf, 1, 1]])
    assert lagrangian(problem, Prices(())).assignment.tolist() == [0, 1]


def test_a_pass_over_many_blocks_equals_one_over_the_whole_table():
    rng = np.random.default_rng(0)
    n, m = 10_001, 3
    hours = rng.integers(-1, 4, (n, 1))
    rows = (
        Rows("budget", rng.random((n, m)), np.array([900.0])),
        Rows("hours", ONE, np.full(4, 2000.0), hours),
    )
    problem = problem_of(rng.random((n, m)), *rows)
    prices = Prices((np.array([0.4]), np.array([0.1, 0.0, 0.3, 0.2])))
    point = lagrangian(problem, prices)
    charge = 0.4 * rows[0].usage + np.array([0.1, 0.0, 0.3, 0.2, 0.0])[hours]
    priced = problem.objective + charge
    assert point.assignment.tolist() == priced.argmin(axis=1).tolist()
    expected = priced.min(axis=1).sum() - 0.4 * 900 - 0.6 * 2000
    assert point.value == pytest.approx(expected, rel=1e-12)
    assert sum(part.stop - part.start for part in problem.blocks()) == n


@given(problem=small_problems(), data=st.data())
def test_pricing_some_queries_reads_the_same_numbers(problem, data):
    prices = data.draw(prices_for(problem))
    some = np.array(data.draw(st.lists(st.integers(0, problem.n_queries - 1), min_size=1)))
    assert (price_pairs(problem, prices, some) == price_pairs(problem, prices)[some]).all()
    assert (regrets(problem, prices) >= 0).all()
    assert (np.isfinite(regrets(problem, prices)) == allowed_pairs(problem)).all()


# ---------------------------------------------------------------- use and limits


@given(problem=small_problems(sizes=(1e-7, 1.0, 1e7)), data=st.data())
def test_value_and_excess_are_exact_sums_rounded_once(problem, data):
    routing = drawn_routing(data, problem)
    exact = exact_value(problem, routing)
    assert problem.value(routing) == (math.inf if exact is None else float(exact))
    excess = exact_excess(problem, routing)
    assert problem.excess(routing).tolist() == [float(e) for e in excess]
    use = [float(e + Fraction(b)) for e, b in zip(excess, problem.limit.tolist(), strict=True)]
    assert problem.use(routing).tolist() == use
    assert [part.tolist() for part in problem.measured(routing)] == [use, list(map(float, excess))]


@given(problem=small_problems(tolerance=0.0), data=st.data())
def test_tolerance_zero_is_exact(problem, data):
    routing = drawn_routing(data, problem)
    kept = all(excess <= 0 for excess in exact_excess(problem, routing))
    assert problem.keeps_limits(routing) == (kept and exact_value(problem, routing) is not None)


def test_one_request_above_ten_million_is_seen():
    n = 10**7 + 1
    capacity = Rows("capacity", ONE, np.array([1e7]))
    routing = np.zeros(n, np.int8)
    assert capacity.use(routing).tolist() == [n]
    assert capacity.excess(routing).tolist() == [1.0]
    assert capacity.excess(routing[:-1]).tolist() == [0.0]
    problem = RoutingProblem(np.zeros((n, 1), np.float32), (capacity,))
    assert not problem.keeps_limits(routing)


def test_tokens_are_counted_to_the_last_one():
    # 10**5 prompts of 100 tokens fill 1e7 exactly; one token more does not fit.
    tokens = np.full((10**5, 1), 100.0)
    routing = np.zeros(10**5, np.intp)
    limit = Rows("tokens", tokens, np.array([1e7]))
    assert RoutingProblem(np.zeros((10**5, 1)), (limit,)).keeps_limits(routing)
    tokens[77] += 1
    limit = Rows("tokens", tokens, np.array([1e7]))
    assert not RoutingProblem(np.zeros((10**5, 1)), (limit,)).keeps_limits(routing)


def test_a_total_asked_for_as_a_mean_is_accepted():
    # 2119 * (1965 / 2119) need not round to 1965; the tolerance is there for this.
    quality = np.zeros((2119, 2))
    quality[:1965, 0] = quality[:1964, 1] = 1.0  # model 1 is right once too few
    limit = np.array([1965 / 2119 * 2119])
    floor = Rows("quality_floor", -quality, -limit, at_least=True)
    problem = RoutingProblem(np.zeros((2119, 2)), (floor,))
    assert problem.keeps_limits(np.zeros(2119, np.intp))
    assert not problem.keeps_limits(np.ones(2119, np.intp))


def test_ten_tenths_reach_a_floor_of_one_even_exactly():
    # The double 0.1 lies above one tenth, so ten of them are 1 + 5.6e-17: enough.
    floor = Rows("quality_floor", np.full((1, 1), -0.1), np.array([-1.0]), at_least=True)
    routing = np.zeros(10, np.intp)
    exact = RoutingProblem(np.zeros((10, 1)), (floor,), tolerance=0.0)
    assert exact.keeps_limits(routing)
    assert exact.excess(routing)[0] == float(1 - 10 * Fraction(0.1)) < 0
    # Against a ceiling of 1.0 the same ten are too many, exactly, and fine within rounding.
    ceiling = Rows("budget", np.full((1, 1), 0.1), np.array([1.0]))
    assert not RoutingProblem(np.zeros((10, 1)), (ceiling,), tolerance=0.0).keeps_limits(routing)
    assert RoutingProblem(np.zeros((10, 1)), (ceiling,)).keeps_limits(routing)


@pytest.mark.parametrize("limit", [1e-5, 1.0, 1e9, -4.0])
def test_the_tolerance_is_relative_to_the_limit(limit):
    for share, kept in ((0.9e-9, True), (1.1e-9, False)):
        usage = np.array([[limit + share * abs(limit)]])
        problem = problem_of([[0]], Rows("b", usage, np.array([limit])))
        assert problem.keeps_limits(np.array([0])) == kept


def test_a_forbidden_pair_keeps_no_limits():
    problem = problem_of([[1, np.inf]])
    assert problem.value(np.array([1])) == math.inf
    assert not problem.keeps_limits(np.array([1]))
    assert problem.keeps_limits(np.array([0]))
    assert allowed_pairs(problem).tolist() == [[True, False]]


def test_solvers_aim_inside_the_tolerance():
    rows = Rows("b", ONE, np.array([100.0, -100.0]))
    for tolerance, room in ((1e-9, 1e-10), (0.0, 0.0)):
        problem = problem_of([[0]], rows, tolerance=tolerance)
        assert (problem.target - problem.limit).tolist() == pytest.approx([room] * 2, rel=1e-3)
        assert (problem.target >= problem.limit).all()


# ---------------------------------------------------------------- what is refused


def test_stranded_queries_are_counted_and_the_first_is_named():
    objective = np.ones((5, 2))
    objective[[2, 4]] = np.inf
    with pytest.raises(
        ProblemError, match=r"2 of 5 queries have no allowed model \(first: query 2\)"
    ):
        RoutingProblem(objective)


@pytest.mark.parametrize(
    ("objective", "options", "message"),
    [
        (np.ones(3), {}, r"the objective is \(n, m\) and not empty; found \(3,\)"),
        (np.ones((0, 2)), {}, r"found \(0, 2\)"),
        ([[1.0, np.nan]], {}, "the objective holds NaN or -inf"),
        ([[1.0, -np.inf]], {}, "the objective holds NaN or -inf"),
        ([[1.0, 2.0]], {"models": ("a",)}, "1 model names for 2 models"),
        ([[1.0]], {"tolerance": -1e-9}, "the feasibility tolerance is -1e-09"),
        ([[1.0]], {"tolerance": 1.0}, "the feasibility tolerance is 1.0"),
        ([[1.0]], {"tolerance": np.nan}, "the feasibility tolerance is nan"),
        (
            np.ones((3, 2)),
            {"rows": (Rows("b", np.ones((2, 2)), np.ones(1)),)},
            r"limit 'b': a grid of shape \(2, 2\) does not fit 3 queries x 2 models",
        ),
        (
            np.ones((3, 2)),
            {"rows": (Rows("b", ONE, np.ones(2), np.array([[0, 1, 0]])),)},
            r"limit 'b': a grid of shape \(1, 3\) does not fit",
        ),
    ],
)
def test_a_problem_that_contradicts_itself_is_refused(objective, options, message):
    with pytest.raises(ProblemError, match=message):
        RoutingProblem(objective, **options)


@pytest.mark.parametrize(
    ("usage", "limit", "options", "message"),
    [
        (np.ones(3), [1.0], {}, r"limit 'b': usage and pool are grids \(n, m\)"),
        (ONE, [[1.0]], {}, r"limit 'b': usage and pool are grids"),
        (ONE, [1.0], {"pool": np.zeros((1, 1))}, r"\(1, 1\) \(float64\)"),
        (ONE, [np.inf], {}, "give finite numbers"),
        (ONE, [np.nan], {}, "give finite numbers"),
        ([[np.nan]], [1.0], {}, "usage holds a value that is not finite"),
        ([[np.inf]], [1.0], {}, "usage holds a value that is not finite"),
        (ONE, [1.0], {"pool": [[1]]}, "pools go from 1 to 1, and there are 1 limits"),
        (ONE, [1.0], {"pool": [[-2]]}, "pools go from -2 to -2"),
        (ONE, [1.0], {"labels": ("a", "b")}, "2 labels for 1 pools"),
    ],
)
def test_rows_that_contradict_themselves_are_refused(usage, limit, options, message):
    with pytest.raises(ProblemError, match=message):
        Rows("b", usage, limit, **options)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((), r"prices have shapes \[\] and the limits ask for \[\(1,\), \(2,\)\]"),
        (([1.0], [1.0]), r"prices have shapes \[\(1,\), \(1,\)\]"),
        (([1.0], [1.0, 2.0], [1.0]), "prices have shapes"),
        (([-1e-300], [0.0, 0.0]), "a price is negative or not finite"),
        (([0.0], [0.0, np.nan]), "a price is negative or not finite"),
        (([0.0], [0.0, np.inf]), "a price is negative or not finite"),
    ],
)
def test_prices_must_fit_the_rows(values, message):
    budget = Rows("budget", ONE, np.array([1.0]))
    capacity = Rows("capacity", ONE, np.array([1.0, 1.0]), np.array([[0, 1]]))
    problem = problem_of([[1, 2]], budget, capacity)
    with pytest.raises(ProblemError, match=message):
        lagrangian(problem, Prices(tuple(np.array(price) for price in values)))


def test_prices_from_a_vector_are_cut_at_zero_and_split_by_family():
    budget = Rows("budget", ONE, np.array([1.0]))
    capacity = Rows("capacity", ONE, np.array([1.0, 1.0]), np.array([[0, 1]]))
    problem = problem_of([[1, 2]], budget, capacity)
    prices = Prices.of(problem, np.array([-1.0, 2.0, 3.0]))
    assert [price.tolist() for price in prices.values] == [[0.0], [2.0, 3.0]]
    assert prices.vector.tolist() == [0.0, 2.0, 3.0]
    assert problem.n_rows == 3
    assert Prices.of(problem_of([[1]]), np.empty(0)).values == ()


# ---------------------------------------------------------------- parts of a problem


def test_a_part_has_its_share_of_every_limit():
    budget = Rows("budget", np.array([[1.0, 4.0]]), np.array([12.0]), unit="USD")
    tenants = Rows("tenant", ONE, np.array([2.0, 1.0]), np.array([[0], [0], [1], [-1]]))
    problem = problem_of([[1, 2], [3, 4], [5, 6], [7, np.inf]], budget, tenants)
    part = problem.take(np.array([3, 0]))
    assert part.objective.tolist() == [[7, np.inf], [1, 2]]
    assert part.limit.tolist() == [6.0, 1.0, 0.5]  # half of the queries
    assert part.rows[0].unit == "USD"
    assert part.use(np.array([0, 1])).tolist() == [5.0, 1.0, 0.0]
    given_limits = problem.take(np.array([3, 0]), np.array([7.0, 8.0, 9.0]))
    assert [rows.limit.tolist() for rows in given_limits.rows] == [[7.0], [8.0, 9.0]]


@given(problem=small_problems(), data=st.data())
def test_values_of_parts_add_up(problem, data):
    routing = drawn_routing(data, problem)
    cut = data.draw(st.integers(0, problem.n_queries))
    index = np.arange(problem.n_queries)
    parts = [part for part in (index[:cut], index[cut:]) if part.size]
    value = sum(problem.take(part).value(routing[part]) for part in parts)
    assert value == pytest.approx(problem.value(routing), abs=1e-12)
    use = sum(problem.take(part).use(routing[part]) for part in parts)
    assert use == pytest.approx(problem.use(routing), abs=1e-12)


def test_arrays_of_a_problem_are_read_only_and_the_users_own_are_not():
    objective, usage, limit = np.ones((2, 2)), np.ones((2, 2)), np.ones(1)
    problem = RoutingProblem(objective, (Rows("b", usage, limit),))
    for held in (problem.objective, problem.rows[0].usage, problem.rows[0].limit):
        with pytest.raises(ValueError, match="read-only"):
            held[0] = 0
    objective[0, 0] = usage[0, 0] = limit[0] = 2.0


def test_reports_turn_a_maximised_value_back():
    assert problem_of([[-3]], maximize=True).reported(-3.0) == 3.0
    assert problem_of([[3]]).reported(3.0) == 3.0


@pytest.mark.parametrize("dtype", [np.uint8, np.uint32, np.uint64, np.int8, np.int64])
@pytest.mark.parametrize("unit", [0.5, 1.0])
def test_pools_of_any_integer_type_count_the_same(dtype, unit):
    usage, pool = np.array([[unit, 2 * unit]]), np.array([[0, 1]], dtype)
    rows = Rows("b", usage, np.array([2.0, 2.0]), pool)
    assert rows.use(np.array([0, 1, 1])).tolist() == [unit, 4 * unit]
    assert rows.excess(np.array([0, 1, 1])).tolist() == [unit - 2, 4 * unit - 2]
