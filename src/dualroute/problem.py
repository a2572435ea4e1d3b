r"""The mathematics: a routing problem, its prices, and the Lagrangian bound.

.. math::

    \min \sum_{ij} f_{ij} x_{ij} \quad\text{s.t.}\\quad \sum_j x_{ij} = 1, \qquad
    \sum_{ij:\, pool_k(i,j) = r} usage_k(i,j)\, x_{ij} \le limit_{kr}, \qquad x \in \\{0, 1\\}

Every limit is one thing: routing query ``i`` to model ``j`` takes ``usage[i, j]`` out of pool
``pool[i, j]``, and pool ``r`` holds ``limit[r]``. Charging usage at prices leaves one argmin
per query, so a bound costs one pass over the table.
"""

import operator
from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np

from dualroute.arrays import (
    Bools,
    Floats,
    Ints,
    as_float,
    at,
    entries,
    exact_sum,
    exact_sums,
    exact_totals,
    gathered,
    part_of,
    read_only,
)
from dualroute.errors import ProblemError

FEASIBILITY_TOLERANCE = 1e-9
_ROUNDING = 1e-12
_SAMPLE = 8192
_LARGEST, _SMALLEST = 1e100, 1e-100
_BLOCK = 4096  # queries per block of a pass: a few hundred kB, so that temporaries stay in cache


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """One family of limits that share a meaning: a budget, the capacities of all models.

    Attributes
    ----------
    name
        What reports call the family.
    usage
        Grid, in the family's unit: what pair ``(i, j)`` takes; may be negative.
    limit
        Shape ``(r,)``, in the same unit: what each pool holds.
    pool
        Grid of pool numbers ``0 .. r-1``; -1 where a pair takes nothing.
    labels
        One text per pool; empty for a family of one.
    unit
        The unit in the user's words.
    at_least
        The user asked for "at least": usage and limit count negated, reports turn back.
    sign
        What `usage` is multiplied by, 1 or -1: a floor then shares its column with the table
        instead of holding a negated copy of it. `limit` is never turned.
    column
        Column of the table that `usage` is; empty where it is none, as when requests are counted.
    smallest, largest
        Bounds on `usage`; its range where this is no part of a larger family.
    """

    name: str
    usage: Floats
    limit: Floats
    pool: Ints = field(default_factory=lambda: np.zeros((1, 1), np.int32))
    labels: tuple[str, ...] = ()
    unit: str = ""
    at_least: bool = False
    sign: float = 1.0
    column: str = ""
    smallest: float = field(init=False)
    largest: float = field(init=False)

    def __post_init__(self) -> None:
        """Validate shapes and numbers, and freeze the arrays."""
        if self.sign not in (1.0, -1.0):
            raise ProblemError(f"limit {self.name!r}: sign is {self.sign}; give 1 or -1")
        limit = np.atleast_1d(np.asarray(self.limit, np.float64))
        usage, pool = np.asarray(self.usage), np.asarray(self.pool)
        if usage.dtype not in (np.float32, np.float64):
            usage = usage.astype(np.float64)
        if usage.ndim != 2 or pool.ndim != 2 or limit.ndim != 1 or pool.dtype.kind not in "iu":
            raise ProblemError(
                f"limit {self.name!r}: usage and pool are grids (n, m) and limit is (r,); found "
                f"shapes {usage.shape}, {pool.shape} ({pool.dtype}) and {limit.shape}"
            )
        if not np.isfinite(limit).all():
            raise ProblemError(f"limit {self.name!r}: found {limit}; give finite numbers")
        if usage.size == 0 or pool.size == 0:
            raise ProblemError(f"limit {self.name!r}: usage or pool is empty")
        smallest, largest = float(usage.min()), float(usage.max())
        if not (smallest >= -_LARGEST and largest <= _LARGEST):
            raise ProblemError(
                f"limit {self.name!r}: usage holds a value that is not finite, or above 1e100; "
                "give it in a larger unit"
            )
        if pool.min() < -1 or pool.max() >= limit.size:
            raise ProblemError(
                f"limit {self.name!r}: pools go from {pool.min()} to {pool.max()}, and there are "
                f"{limit.size} limits; number them 0 .. {limit.size - 1}, or -1 for none"
            )
        if self.labels and len(self.labels) != limit.size:
            raise ProblemError(
                f"limit {self.name!r}: {len(self.labels)} labels for {limit.size} pools"
            )
        # One integer type, so that one compiled kernel serves all.
        pool = pool.astype(np.int32, copy=False)
        for name, array in (("usage", usage), ("pool", pool), ("limit", limit)):
            object.__setattr__(self, name, read_only(array))
        object.__setattr__(self, "smallest", smallest)
        object.__setattr__(self, "largest", largest)

    @property
    def n_pools(self) -> int:
        """Number of pools, ``r``."""
        return int(self.limit.size)

    def signed(self, values: Floats) -> Floats:
        """Entries of `usage`, or prices of them, times `sign`."""
        return values if self.sign > 0 else -values

    def taken(self, queries: Ints, models: Ints) -> Floats:
        """What pairs ``(queries[t], models[t])`` take, shape ``(t,)``."""
        return self.signed(entries(self.usage, queries, models))

    def charge(self, price: Floats, part: slice | Ints = slice(None)) -> Floats:
        """What usage costs at a price per pool ``(r,)``: a grid, in objective units."""
        # The appended zero is what index -1 reads: a pair outside every pool pays nothing.
        priced: Floats = self.signed(np.append(price, 0.0))[part_of(self.pool, part)]
        charged: Floats = priced * part_of(self.usage, part)
        return charged

    def use(self, assignment: Ints) -> Floats:
        """What a routing takes out of every pool, each sum correctly rounded, shape ``(r,)``."""
        taken = self.signed(at(self.usage, assignment))
        return exact_sums(taken, at(self.pool, assignment), self.n_pools)

    def excess(self, assignment: Ints) -> Floats:
        """Use minus limit, computed as one exact sum and rounded once, shape ``(r,)``."""
        taken = self.signed(at(self.usage, assignment))
        values = np.concatenate([taken.astype(np.float64), -self.limit])
        pool = np.concatenate([at(self.pool, assignment), np.arange(self.n_pools)])
        return exact_sums(values, pool, self.n_pools)

    def of_queries(self, queries: Ints, limit: Floats) -> "Rows":
        """The family on some queries, with other limits ``(r,)``; its range stays the whole's."""
        taken = copy(self)
        object.__setattr__(taken, "usage", read_only(gathered(self.usage, queries)))
        object.__setattr__(taken, "pool", read_only(gathered(self.pool, queries)))
        object.__setattr__(taken, "limit", read_only(limit))
        return taken

    def holding(self, limit: Floats) -> "Rows":
        """The family with other limits ``(r,)``, which are finite; nothing is copied."""
        held = copy(self)
        object.__setattr__(held, "limit", read_only(limit))
        return held

    def measured(self, assignment: Ints) -> tuple[Floats, Floats]:
        """What `use` and `excess` give, in one pass over the routing."""
        taken = self.signed(at(self.usage, assignment))
        totals = exact_totals(taken, at(self.pool, assignment), self.n_pools)
        beyond = map(operator.sub, totals, map(Fraction, self.limit.tolist()))
        return np.array([*map(as_float, totals)]), np.array([*map(as_float, beyond)])


@dataclass(frozen=True, slots=True, eq=False)
class RoutingProblem:
    """Which model answers which query: ``n`` queries, ``m`` models, ``K`` coupling rows.

    Attributes
    ----------
    objective
        Shape ``(n, m)``, minimised; ``inf`` where a pair is not allowed. float32 or float64.
    rows
        The families of limits; ``K`` counts their pools together.
    models
        ``m`` names, for reports.
    maximize
        The user asked to maximise: ``objective`` is stored negated, reports turn back.
    unit
        Unit of the objective in the user's words.
    tolerance
        A limit ``b`` counts as kept up to ``b + tolerance * abs(b)``; 0 asks for exactness.
    terms
        Columns of the table that the (minimised) objective adds up, with their weights; empty
        where it was not made of columns.
    smallest, largest
        Range of the objective over allowed pairs.

    Raises
    ------
    ProblemError
        If shapes disagree, a number is NaN, or a query has no allowed model.
    """

    objective: Floats
    rows: tuple[Rows, ...] = ()
    models: tuple[str, ...] = ()
    maximize: bool = False
    unit: str = ""
    tolerance: float = FEASIBILITY_TOLERANCE
    terms: Mapping[str, float] = field(default_factory=dict)
    smallest: float = field(init=False)
    largest: float = field(init=False)

    def __post_init__(self) -> None:
        """Validate, and freeze the arrays."""
        objective = np.asarray(self.objective)
        if objective.dtype not in (np.float32, np.float64):
            objective = objective.astype(np.float64)
        if objective.ndim != 2 or objective.size == 0:
            raise ProblemError(f"the objective is (n, m) and not empty; found {objective.shape}")
        n, m = objective.shape
        models = tuple(self.models) or tuple(f"m{j}" for j in range(m))
        if len(models) != m:
            raise ProblemError(f"{len(models)} model names for {m} models")
        if not 0 <= self.tolerance < 1:
            raise ProblemError(f"the feasibility tolerance is {self.tolerance}; give 0 <= t < 1")
        least, largest = float(objective.min()), float(objective.max())  # NaN comes through
        if not least > -np.inf:
            raise ProblemError("the objective holds NaN or -inf; give numbers, or inf to forbid")
        if largest == np.inf:
            allowed = np.isfinite(objective)
            stranded = np.flatnonzero(~allowed.any(axis=1))
            if stranded.size:
                raise ProblemError(
                    f"{stranded.size} of {n} queries have no allowed model (first: query "
                    f"{stranded[0]}); allow one, e.g. a fallback model at a high cost"
                )
            largest = float(np.max(objective, initial=0.0, where=allowed))
        if not (least >= -_LARGEST and largest <= _LARGEST):
            raise ProblemError(
                "the objective holds a value above 1e100 in size; give it in a larger unit"
            )
        for rows in self.rows:
            for grid in (rows.usage, rows.pool):
                if grid.shape[0] not in (1, n) or grid.shape[1] not in (1, m):
                    raise ProblemError(
                        f"limit {rows.name!r}: a grid of shape {grid.shape} does not fit "
                        f"{n} queries x {m} models"
                    )
        object.__setattr__(self, "objective", read_only(objective))
        object.__setattr__(self, "models", models)
        object.__setattr__(self, "smallest", least)
        object.__setattr__(self, "largest", largest)

    @property
    def n_queries(self) -> int:
        """Number of queries, ``n``."""
        return int(self.objective.shape[0])

    @property
    def n_models(self) -> int:
        """Number of models, ``m``."""
        return int(self.objective.shape[1])

    @property
    def n_rows(self) -> int:
        """Number of coupling rows, ``K``: the pools of all families."""
        return sum(rows.n_pools for rows in self.rows)

    @property
    def limit(self) -> Floats:
        """All limits as one vector, shape ``(K,)``, family after family."""
        return np.concatenate([np.empty(0), *(rows.limit for rows in self.rows)])

    @property
    def row_size(self) -> Floats:
        """A size to measure each row by: its limit, or a mean use where that is larger, ``(K,)``.

        Positive, also where the limit is 0.
        """
        sizes = [np.empty(0)]
        for rows in self.rows:
            usage = rows.usage[:: _stride(rows.usage.shape[0])]
            mean = float(np.abs(usage).mean(dtype=np.float64)) or 1.0
            sizes.append(np.maximum(np.abs(rows.limit), max(mean, _SMALLEST)))
        return np.concatenate(sizes)

    @property
    def objective_size(self) -> float:
        """Mean size of an objective entry that is not 0, from queries all over the table."""
        some = self.objective[:: _stride(self.n_queries)]
        sizes = np.abs(some[np.isfinite(some) & (some != 0)])
        return max(float(sizes.mean(dtype=np.float64)), _SMALLEST) if sizes.size else 1.0

    @property
    def target(self) -> Floats:
        """What solvers aim at: the limits, with room for the rounding of a sum, ``(K,)``.

        The tolerance forgives rounding; it is not there to be used up, so an optimum is one
        for the limits as stated. Only where nothing keeps those, solvers turn to `widened`.
        """
        limit = self.limit
        return limit + min(self.tolerance, _ROUNDING) * np.abs(limit)

    def widened(self) -> "RoutingProblem":
        """The problem with (nearly) all of the tolerance added to its limits, and none left.

        What solvers fall back on when the limits themselves cannot be kept: a routing of it
        keeps the limits of this problem within tolerance.
        """
        limits = self.split(self.limit + 0.999 * self.tolerance * np.abs(self.limit))
        rows = zip(self.rows, limits, strict=True)
        return replace(
            self, rows=tuple(replace(r, limit=limit) for r, limit in rows), tolerance=0.0
        )

    def parting(self, moved: Floats) -> float:
        """The most by which prices that move by these ``(K,)`` move two models of a query apart."""
        most = 0.0
        for rows, each in zip(self.rows, self.split(moved), strict=True):
            low, high = rows.smallest, rows.largest
            if np.ptp(rows.pool) == 0:
                most += float(each.max(initial=0.0)) * (high - low)
                continue
            # Both in one pool, unless one is in none; or each in another.
            within = float(each.max(initial=0.0)) * (max(high, 0.0) - min(low, 0.0))
            most += max(within, float(np.sort(each)[-2:].sum()) * max(high, -low))
        return most

    def without_objective(self) -> "RoutingProblem":
        """The problem of keeping the limits at all: objective 0 on every allowed pair."""
        nothing = np.broadcast_to(np.zeros((1, 1)), self.objective.shape)
        if not np.isfinite(self.objective.max()):
            nothing = np.where(np.isfinite(self.objective), 0.0, np.inf)
        return replace(self, objective=nothing, terms={})

    def split(self, vector: Floats) -> tuple[Floats, ...]:
        """A vector ``(K,)`` as one array per family."""
        parts, start = [], 0
        for rows in self.rows:
            parts.append(vector[start : start + rows.n_pools])
            start += rows.n_pools
        return tuple(parts)

    def family(self, row: int) -> tuple[Rows, int]:
        """The family that row ``0 .. K-1`` is of, and its pool there."""
        for rows in self.rows:
            if row < rows.n_pools:
                return rows, row
            row -= rows.n_pools
        raise IndexError(row)

    def blocks(self) -> Iterator[slice]:
        """Slices over the queries, in order, small enough that a pass stays in cache."""
        for start in range(0, self.n_queries, _BLOCK):
            yield slice(start, min(start + _BLOCK, self.n_queries))

    def check_routing(self, assignment: Ints, what: str = "routing") -> None:
        """Raise `ProblemError` unless this is one model index per query, shape ``(n,)``."""
        if assignment.shape != (self.n_queries,) or assignment.dtype.kind not in "iu":
            raise ProblemError(
                f"the {what} has shape {assignment.shape} ({assignment.dtype}); give one model "
                f"index for each of the {self.n_queries} queries"
            )
        if assignment.min() < 0 or assignment.max() >= self.n_models:
            raise ProblemError(
                f"the {what} names models {assignment.min()} to {assignment.max()}; there are "
                f"models 0 to {self.n_models - 1}"
            )

    def value(self, assignment: Ints) -> float:
        """Objective of a routing, minimised, correctly rounded; ``inf`` if a pair is forbidden."""
        taken = at(self.objective, assignment)
        return exact_sum(taken) if np.isfinite(taken).all() else np.inf

    def use(self, assignment: Ints) -> Floats:
        """Use of every row by a routing, each sum correctly rounded, shape ``(K,)``."""
        return np.concatenate([np.empty(0), *(rows.use(assignment) for rows in self.rows)])

    def excess(self, assignment: Ints) -> Floats:
        """Use minus limit, exact and rounded once, shape ``(K,)``."""
        return np.concatenate([np.empty(0), *(rows.excess(assignment) for rows in self.rows)])

    def measured(self, assignment: Ints) -> tuple[Floats, Floats]:
        """What `use` and `excess` give, in one pass over the routing."""
        nothing = (np.empty(0), np.empty(0))
        families = [nothing, *(rows.measured(assignment) for rows in self.rows)]
        return np.concatenate([f[0] for f in families]), np.concatenate([f[1] for f in families])

    def keeps_limits(self, assignment: Ints) -> bool:
        """Whether a routing uses allowed pairs only and keeps every limit, within tolerance."""
        within = self.excess(assignment) <= self.tolerance * np.abs(self.limit)
        return bool(within.all()) and self.value(assignment) < np.inf

    def meets_target(self, assignment: Ints) -> bool:
        """Whether a routing uses allowed pairs only and keeps every `target`."""
        within = self.excess(assignment) <= self.target - self.limit
        return bool(within.all()) and self.value(assignment) < np.inf

    def reported(self, value: float) -> float:
        """An objective value or bound turned back into the user's sense."""
        return 0.0 - value if self.maximize else value

    def with_limit(self, limit: Floats) -> "RoutingProblem":
        """The problem with other limits ``(K,)``, sharing all else.

        Raises
        ------
        ProblemError
            If there are not ``K``, or one is not finite.
        """
        if limit.shape != (self.n_rows,) or not np.isfinite(limit).all():
            raise ProblemError(f"limits are {limit}; give {self.n_rows} finite numbers")
        held = copy(self)
        parts = zip(self.rows, self.split(np.asarray(limit, np.float64)), strict=True)
        object.__setattr__(held, "rows", tuple(rows.holding(part) for rows, part in parts))
        return held

    def take(self, queries: Ints, limit: Floats | None = None) -> "RoutingProblem":
        """The problem on some queries; limits ``(K,)`` as given, or scaled by their share."""
        if queries.size == 0:
            raise ProblemError("a problem on no queries; give one or more")
        if limit is None:
            limit = self.limit * (queries.size / self.n_queries)
        rows = zip(self.rows, self.split(limit), strict=True)
        # Some of what was checked needs no check: with two passes less, this is a gather alone.
        taken = copy(self)
        object.__setattr__(taken, "objective", read_only(gathered(self.objective, queries)))
        object.__setattr__(taken, "rows", tuple(r.of_queries(queries, part) for r, part in rows))
        return taken


@dataclass(frozen=True, slots=True, eq=False)
class Prices:
    """Shadow prices of the limits: what one more unit of each would save.

    Attributes
    ----------
    values
        One array ``(r_k,)`` per family of rows, non-negative, in objective units per unit of
        the row.
    """

    values: tuple[Floats, ...]

    @classmethod
    def of(cls, problem: RoutingProblem, vector: Floats) -> "Prices":
        """Prices from one vector ``(K,)``; numbers below zero become zero."""
        return cls(problem.split(np.maximum(np.asarray(vector, np.float64), 0.0)))

    def normalized(self) -> "Prices":
        """The same direction with largest entry 1: how rays are handed out."""
        largest = float(self.vector.max(initial=0.0))
        return self if largest == 0 else Prices(tuple(value / largest for value in self.values))

    @property
    def vector(self) -> Floats:
        """All prices as one vector ``(K,)``."""
        return np.concatenate([np.empty(0), *self.values])

    def check(self, problem: RoutingProblem) -> None:
        """Raise `ProblemError` unless these are prices of the problem's rows."""
        shapes = [np.shape(price) for price in self.values]
        wanted = [(rows.n_pools,) for rows in problem.rows]
        if shapes != wanted:
            raise ProblemError(f"prices have shapes {shapes} and the limits ask for {wanted}")
        vector = self.vector
        if not (np.isfinite(vector).all() and (vector >= 0).all()):
            raise ProblemError("a price is negative or not finite; prices are at least zero")


@dataclass(frozen=True, slots=True, eq=False)
class DualPoint:
    """The Lagrangian at given prices.

    Attributes
    ----------
    value
        Lower bound on the optimum, in (minimised) objective units, up to rounding.
    assignment
        Shape ``(n,)``: each query's cheapest allowed model; ties go to the lowest index.
    slack
        Limit minus use of that assignment, one ``(r_k,)`` array per family of rows.
    """

    value: float
    assignment: Ints
    slack: tuple[Floats, ...]


def _stride(n: int) -> int:
    """A step through the queries that looks at some 8,000 of them, wherever they stand."""
    return max(1, n // _SAMPLE)


def price_pairs(
    problem: RoutingProblem, prices: Prices, part: slice | Ints = slice(None)
) -> Floats:
    """Objective plus charged usage of every pair of some queries, shape ``(b, m)``, float64."""
    priced = problem.objective[part].astype(np.float64)
    for rows, price in zip(problem.rows, prices.values, strict=True):
        if price.any():
            priced += rows.charge(price, part)
    return priced


def cost_of(problem: RoutingProblem, prices: Prices, part: slice, assignment: Ints) -> Floats:
    """What `price_pairs` gives for one model of each query, shape ``(b,)``."""
    lines = np.arange(assignment.size)
    cost = entries(part_of(problem.objective, part), lines, assignment).astype(np.float64)
    for rows, price in zip(problem.rows, prices.values, strict=True):
        if price.any():
            pool = entries(part_of(rows.pool, part), lines, assignment)
            used = entries(part_of(rows.usage, part), lines, assignment)
            cost += rows.signed(np.append(price, 0.0))[pool] * used
    return cost


def regrets(problem: RoutingProblem, prices: Prices, part: slice | Ints = slice(None)) -> Floats:
    """Reduced cost of every pair: its priced objective above the query's best, ``(b, m)``."""
    priced = price_pairs(problem, prices, part)
    priced -= priced.min(axis=1, keepdims=True)
    return priced


def lagrangian(problem: RoutingProblem, prices: Prices) -> DualPoint:
    r"""Bound the objective of every feasible routing from below, at given prices.

    Charging usage at the prices [1]_ splits the problem by query, each on its cheapest allowed
    model: :math:`\sum_i \min_j (f_{ij} + \sum_k p_k u_{kij}) - \sum_k p_k^T b_k`. The best such
    bound equals that of the linear relaxation [2]_. Computed in floating point; `certify` makes
    it rigorous.

    Parameters
    ----------
    problem
        ``n`` queries, ``m`` models; the objective is minimised.
    prices
        One array per ``problem.rows``, shape ``(r_k,)``, non-negative, in objective units per
        unit of row ``k`` (quality per USD, say).

    Returns
    -------
    DualPoint
        ``value``, in objective units, above the optimum by rounding at most; ``assignment``,
        shape ``(n,)``; ``slack``, limit minus use, one ``(r_k,)`` array per family of rows.

    Raises
    ------
    ProblemError
        If the prices disagree with the rows in number or shape, or one is negative.

    References
    ----------
    .. [1] Fisher (1981), The Lagrangian relaxation method for solving integer programming
       problems, Management Science 27(1), doi:10.1287/mnsc.27.1.1.
    .. [2] Geoffrion (1974), Lagrangean relaxation for integer programming, Mathematical
       Programming Study 2, doi:10.1007/BFb0120690.
    """
    prices.check(problem)
    assignment = np.empty(problem.n_queries, np.intp)
    total = 0.0
    for block in problem.blocks():
        priced = price_pairs(problem, prices, block)
        # Ties go to the lowest model index, so every pass over the same prices agrees.
        best = priced.argmin(axis=1)
        assignment[block] = best
        total += float(np.take_along_axis(priced, best[:, None], axis=1).sum())
    slack = problem.limit - problem.use(assignment)
    value = total - float(prices.vector @ problem.limit)
    return DualPoint(value, assignment, problem.split(slack))


def allowed_pairs(problem: RoutingProblem) -> Bools:
    """Which pairs may be routed, shape ``(n, m)``."""
    return np.isfinite(problem.objective)
