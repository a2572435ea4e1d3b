"""Generators for property tests, and the slow exact answers that they are checked against.

Problems are tiny, so that every routing can be listed. They hold what breaks solvers: equal
values, negative usage, pairs outside every pool, forbidden pairs, limits that one routing meets
with nothing to spare, costs far from 1, grids of one row or one column, float32.
"""

import itertools
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from dualroute.arrays import Floats, Ints
from dualroute.outcomes import Outcomes
from dualroute.problem import Prices, RoutingProblem, Rows

# A first call compiles or imports; how long an example takes says nothing about the numbers.
settings.register_profile("dualroute", settings.default, deadline=None)
settings.load_profile("dualroute")

FAMILIES = ("budget", "floor", "capacity", "grouped", "share", "own_model", "mixed")
SIZES = (1e-7, 1.0, 1e7)

# Largest to smallest over 600 decimal orders, yet no sum of a few hundred overflows.
NUMBERS = st.one_of(
    st.floats(-1e300, 1e300),
    st.floats(-1, 1),
    st.integers(-(10**6), 10**6).map(float),
    st.sampled_from([1e16, -1e16, 1.0, 1e-16, 0.1, -0.1, 2.0**53, -(2.0**53), 5e-324]),
)

ORDINARY = ("ties", "decimals", "continuous")  # what a solver with absolute tolerances can take
_PALETTES = {
    "ties": st.sampled_from([0.0, 0.5, 1.0]),
    "decimals": st.integers(0, 10).map(lambda k: k / 10),
    "continuous": st.floats(0.01, 1),
    "any": st.floats(0, 1, allow_subnormal=False),  # 1e-273 beside 1, too
}


@st.composite
def grids(
    draw: st.DrawFn, n: int, m: int, elements: st.SearchStrategy[float], *, whole: bool = False
) -> Floats:
    """A grid for ``n`` queries and ``m`` models; of one row or column unless `whole`."""
    shape = (n, m) if whole else draw(st.sampled_from([(n, m), (n, 1), (1, m), (1, 1)]))
    size = shape[0] * shape[1]
    values = draw(st.lists(elements, min_size=size, max_size=size))
    return np.array(values, draw(st.sampled_from([np.float64, np.float32]))).reshape(shape)


@st.composite
def routings(draw: st.DrawFn, n: int, m: int) -> Ints:
    """Any model for every query."""
    return np.array(draw(st.lists(st.integers(0, m - 1), min_size=n, max_size=n)), np.int64)


@st.composite
def small_problems(
    draw: st.DrawFn,
    *,
    max_queries: int = 5,
    max_models: int = 3,
    families: tuple[str, ...] = FAMILIES,
    max_families: int = 3,
    planted: bool = False,
    sizes: tuple[float, ...] = (1.0,),
    palettes: tuple[str, ...] = (*ORDINARY, "any"),
    tolerance: float = 1e-9,
) -> RoutingProblem:
    """A problem small enough to list its routings.

    Parameters
    ----------
    families
        Kinds of rows to draw from.
    planted
        Whether at least one routing keeps every limit (some exactly, up to one rounding).
    sizes
        Magnitudes of costs and usages.
    palettes
        How the numbers are spread.
    """
    n, m = draw(st.integers(1, max_queries)), draw(st.integers(1, max_models))
    numbers = _PALETTES[draw(st.sampled_from(palettes))]
    size = draw(st.sampled_from(sizes))
    sign = draw(st.sampled_from([1.0, -1.0]))
    objective = draw(grids(n, m, numbers.map(lambda x: sign * size * x), whole=True))
    routing = draw(routings(n, m))
    forbidden = draw(st.lists(st.booleans(), min_size=n * m, max_size=n * m))
    objective[np.array(forbidden).reshape(n, m) & (np.arange(m) != routing[:, None])] = np.inf
    kinds = draw(st.lists(st.sampled_from(families), max_size=max_families))
    rows = []
    for k, kind in enumerate(kinds):
        usage, pool, n_pools = draw(_coupling(kind, n, m, numbers, draw(st.sampled_from(sizes))))
        free = Rows(f"{kind}_{k}", usage, np.zeros(n_pools), pool, at_least=kind == "floor")
        # At the use of one routing or near it: nothing is harder than a limit met exactly.
        spare = [0.0, 0.0, 0.5, 1.0] if planted else [0.0, 0.0, 0.5, 1.0, -0.5, -1.0]
        step = float(np.abs(usage).max())
        shift = draw(st.lists(st.sampled_from(spare), min_size=n_pools, max_size=n_pools))
        limit = free.use(routing) + step * np.array(shift)
        rows.append(Rows(free.name, usage, limit, pool, at_least=free.at_least))
    return RoutingProblem(objective, tuple(rows), tolerance=tolerance)


@st.composite
def _coupling(
    draw: st.DrawFn, kind: str, n: int, m: int, numbers: st.SearchStrategy[float], size: float
) -> tuple[Floats, Ints, int]:
    """Usage, pool and number of pools of one family."""
    amounts = numbers.map(lambda x: size * x)
    one = np.zeros((1, 1), np.int32)
    each = np.arange(m, dtype=np.int32)[None, :]
    if kind == "budget":
        return draw(grids(n, m, amounts)), one, 1
    if kind == "floor":
        return -draw(grids(n, m, numbers)), one, 1
    if kind == "capacity":
        return np.ones((1, 1)), each, m
    if kind == "share":
        named = draw(st.integers(0, m - 1))
        return np.ones((1, 1)), np.where(each == named, 0, -1), 1
    if kind == "own_model":
        named = draw(st.integers(0, m - 1))
        return draw(grids(n, m, amounts)), np.where(each == named, 0, -1), 1
    if kind == "grouped":
        codes = draw(st.lists(st.integers(-1, 1), min_size=n, max_size=n))
        return draw(grids(n, m, amounts)), np.array(codes, np.int32)[:, None], 2
    assert kind == "mixed"
    either = st.tuples(amounts, st.sampled_from([1.0, -1.0])).map(lambda pair: pair[0] * pair[1])
    pools = draw(st.lists(st.integers(-1, 1), min_size=n * m, max_size=n * m))
    return draw(grids(n, m, either)), np.array(pools).reshape(n, m), 2


@st.composite
def prices_for(
    draw: st.DrawFn, problem: RoutingProblem, *, smallest: int = -2, largest: int = 2
) -> Prices:
    """Prices of a problem's rows: zero, or with a decimal exponent in the range given."""
    exponent = st.integers(smallest, largest)
    positive = st.tuples(st.floats(1, 9.5), exponent).map(lambda p: p[0] * 10.0 ** p[1])
    price = st.one_of(st.just(0.0), positive, st.sampled_from([0.5, 1.0]))
    k = problem.n_rows
    return Prices.of(problem, np.array(draw(st.lists(price, min_size=k, max_size=k))))


@st.composite
def small_outcomes(draw: st.DrawFn, *, max_queries: int = 6, max_models: int = 3) -> Outcomes:
    """A table with cost, quality, latency and length, queries grouped by tenant and hour."""
    n, m = draw(st.integers(1, max_queries)), draw(st.integers(1, max_models))
    numbers = _PALETTES[draw(st.sampled_from(sorted(_PALETTES)))]
    tokens = st.integers(0, 500).map(float)
    labels = {
        name: np.array(draw(st.lists(st.sampled_from(values), min_size=n, max_size=n)))
        for name, values in (("tenant", ["acme", "zeta"]), ("hour", [0, 1, 2]))
    }
    return Outcomes.from_arrays(
        cost=draw(grids(n, m, numbers.map(lambda x: 0.01 * x), whole=True)),
        quality=draw(grids(n, m, numbers)),
        models=["small", "medium", "large"][:m],
        columns={
            "latency": draw(grids(n, m, numbers)),
            "input_tokens": np.array(draw(st.lists(tokens, min_size=n, max_size=n)))[:, None],
        },
        attributes=labels,
    )


def every_routing(problem: RoutingProblem) -> Iterator[Ints]:
    """All ``m**n`` routings, those on forbidden pairs too."""
    models = range(problem.n_models)
    for routing in itertools.product(models, repeat=problem.n_queries):
        yield np.array(routing, np.int64)


def every_feasible_routing(problem: RoutingProblem) -> Iterator[Ints]:
    """The routings that keep every limit within the problem's tolerance."""
    return (routing for routing in every_routing(problem) if problem.keeps_limits(routing))


def exact_value(problem: RoutingProblem, routing: Ints) -> Fraction | None:
    """Objective in rational arithmetic; None on a forbidden pair."""
    taken = [float(problem.objective[i, j]) for i, j in enumerate(routing)]
    return None if np.inf in taken else sum(map(Fraction, taken), Fraction(0))


def exact_excess(problem: RoutingProblem, routing: Ints) -> list[Fraction]:
    """Use minus limit of every row in rational arithmetic."""
    excess = []
    for rows in problem.rows:
        usage, pool = (_entries(problem, grid) for grid in (rows.usage, rows.pool))
        of = [-Fraction(float(limit)) for limit in rows.limit]
        for i, j in enumerate(routing):
            if pool(i, j) >= 0:
                of[int(pool(i, j))] += Fraction(rows.sign * float(usage(i, j)))
        excess += of
    return excess


def exact_optimum(problem: RoutingProblem) -> Fraction | None:
    """Least objective of the routings that exceed no limit at all; None if there is none."""
    values = [
        exact_value(problem, routing)
        for routing in every_routing(problem)
        if all(excess <= 0 for excess in exact_excess(problem, routing))
    ]
    return min((value for value in values if value is not None), default=None)


def _entries(problem: RoutingProblem, grid: Any) -> Callable[[int, int], Any]:
    whole = np.broadcast_to(grid, (problem.n_queries, problem.n_models))
    return lambda i, j: whole[i, j]


def mixed_problem(seed, n=150, m=5):
    """Families of every form at once, some pairs forbidden, ties among the numbers."""
    draw = np.random.default_rng(seed)
    dtype = draw.choice([np.float32, np.float64])
    order = draw.choice(["C", "F"])

    def grid(*shape):
        return np.asarray(draw.integers(1, 9, shape) / 8, dtype=dtype, order=order)

    objective = grid(n, m)
    objective[draw.random((n, m)) < 0.1] = np.inf
    objective[:, 0] = 1.0
    families = (
        Rows("dense", grid(n, m), np.ones(1), sign=-1.0, at_least=True),
        Rows("dense too", grid(n, m), np.ones(m), np.arange(m)[None, :]),
        Rows("per query", grid(n, 1), np.ones(2), draw.integers(-1, 2, (1, m))),
        Rows("per model", grid(1, m), np.ones(1)),
        Rows("requests", np.ones((1, 1)), np.ones(m), np.arange(m)[None, :]),
        Rows("grouped", grid(n, 1), np.ones(3), draw.integers(-1, 3, (n, 1))),
        Rows("any pool", grid(n, m), np.ones(4), draw.integers(-1, 4, (n, m))),
    )
    chosen = draw.random(len(families)) < 0.6
    rows = tuple(f for f, taken in zip(families, chosen, strict=True) if taken)
    problem = RoutingProblem(objective, rows)
    return problem, Prices.of(problem, draw.exponential(0.3, problem.n_rows))
