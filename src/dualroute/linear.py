"""The same problem as sparse matrices, whole or on some pairs only, and the way back.

`LinearForm` is what a general solver is asked, `Task` how, and `Answer` what it leaves.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp

from dualroute.arrays import Bools, Floats, Ints, entries, pool_sums
from dualroute.problem import Prices, RoutingProblem
from dualroute.solver import SolveOptions, Termination

_LARGEST, _SMALLEST = 1e12, 1e-100


@dataclass(frozen=True, slots=True, eq=False)
class LinearForm:
    """A mixed-integer program over ``c`` pairs: each free query once, ``K`` coupling rows.

    Solver tolerances are absolute, so costs and rows are scaled by powers of two (which lose
    nothing) to a median size near 1; everything handed back is unscaled.

    Attributes
    ----------
    query, model
        The pair behind each column, shape ``(c,)``, ordered by query.
    cost
        Scaled objective per column.
    matrix
        CSR, one row per free query and then ``K`` scaled coupling rows.
    lower, upper
        Scaled row bounds; 1 and 1 for a query, ``-inf`` and the ceiling for a coupling row.
    free
        The free queries, in the order of their rows.
    cost_scale, row_scale
        What the objective and each coupling row were multiplied by.
    offset
        Objective of the queries that are not free, unscaled.
    n_slack
        How many columns, the last ones, are continuous also in an integer program.
    """

    query: Ints
    model: Ints
    cost: Floats
    matrix: sp.csr_array
    lower: Floats
    upper: Floats
    free: Ints
    cost_scale: float
    row_scale: Floats
    offset: float = 0.0
    n_slack: int = 0

    @property
    def n_columns(self) -> int:
        """Number of pairs, ``c``."""
        return int(self.cost.size)

    def routing(self, x: Floats, base: Ints) -> Ints:
        """Each free query on its largest fraction, the others as in ``base``, shape ``(n,)``."""
        order = np.lexsort((-np.asarray(x), self.query))
        first = np.unique(self.query[order], return_index=True)[1]
        routed = base.copy()
        routed[self.query[order][first]] = self.model[order][first]
        return routed

    def columns_of(self, assignment: Ints) -> Floats:
        """A routing as column values; 1 where its pair is a column."""
        chosen: Floats = (assignment[self.query] == self.model).astype(np.float64)
        return chosen

    def prices(self, problem: RoutingProblem, row_duals: Floats) -> Prices:
        """Shadow prices from the duals of all rows (``<=`` rows have negative duals)."""
        coupling = np.asarray(row_duals)[self.free.size :]
        return Prices.of(problem, -coupling * self.row_scale / self.cost_scale)

    def elastic(self, worth: Floats | None = None) -> "LinearForm":
        """The program that breaks the coupling rows as little as it can.

        Its ``K`` further columns are how far each scaled row is exceeded, in ``[0, 1]`` times
        the row's reach; duals of its optimum prove infeasibility when the optimum is positive.

        Parameters
        ----------
        worth
            What one unscaled unit beyond each row costs, shape ``(K,)``; one of the scaled row
            costs 1 if not given.
        """
        n_free, k = self.free.size, self.row_scale.size
        price = np.ones(k) if worth is None else worth / self.row_scale
        give = sp.vstack([sp.csr_array((n_free, k)), sp.diags_array(-self._reach)])
        return replace(
            self,
            query=np.r_[self.query, np.full(k, -1)],
            model=np.r_[self.model, np.full(k, -1)],
            cost=np.r_[np.zeros(self.n_columns), price * self._reach],
            matrix=sp.csr_array(sp.hstack([self.matrix, give])),
            cost_scale=1.0,
            offset=0.0,
            n_slack=k,
        )

    def slack_of(self, excess: Floats) -> Floats:
        """Values of the further columns of `elastic` for rows exceeded so far, scaled, ``(K,)``."""
        slack: Floats = np.clip(excess / self._reach, 0.0, 1.0)
        return slack

    @property
    def _reach(self) -> Floats:
        """More than any routing exceeds each coupling row by, scaled, shape ``(K,)``."""
        coupling = slice(self.free.size, None)
        reach: Floats = np.abs(self.matrix[coupling]).sum(axis=1) + np.abs(self.upper[coupling])
        return reach + 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """How a linear form is to be solved.

    Attributes
    ----------
    integer
        Whether columns are binary; between 0 and 1 otherwise.
    options
        Time limit, gaps (of unscaled objectives), seed and threads.
    start
        A full set of column values to start from, shape ``(c,)``; None if there is none.
    on_incumbent
        Called with objective and bound, unscaled, at every better routing, by solvers that can.
    """

    integer: bool
    options: SolveOptions = field(default_factory=SolveOptions)
    start: Floats | None = None
    on_incumbent: Callable[[float, float], None] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What one run of a linear or integer program left behind, in unscaled objective units.

    Attributes
    ----------
    termination
        Why it stopped; `INFEASIBLE` is the solver's claim.
    x
        Column values, shape ``(c,)``; None if no feasible point was found.
    best_bound
        A lower bound on the objective, on the solver's word; ``-inf`` if none.
    row_dual
        Of every row (``<=`` rows have negative duals when minimising), scaled as the form is;
        None after an integer program, or without an optimum.
    iterations
        Nodes of an integer program, steps of a relaxation.
    interrupted
        Whether Ctrl-C ended it.
    build_seconds
        Spent on handing the form over, in the solver's own terms.
    """

    termination: Termination
    x: Floats | None = None
    best_bound: float = -math.inf
    row_dual: Floats | None = None
    iterations: int = 0
    interrupted: bool = False
    build_seconds: float = 0.0


Run: TypeAlias = Callable[[LinearForm, Task], Answer]


def linear_form(
    problem: RoutingProblem,
    pairs: Bools | None = None,
    base: Ints | None = None,
    *,
    scaled: bool = True,
) -> LinearForm:
    """The linear form of a problem, on all pairs or on some.

    Parameters
    ----------
    problem
        ``n`` queries, ``m`` models.
    pairs
        Pairs that get a column, shape ``(n, m)``; all allowed ones if not given.
    base
        Needed with `pairs`: a routing, shape ``(n,)``. A query with no pair of its own stays
        on it, and what it uses is taken off the limits.
    scaled
        Whether costs and rows are brought near 1; otherwise all numbers are the problem's own,
        limits as stated.
    """
    allowed = np.isfinite(problem.objective)
    columns = allowed if pairs is None else (allowed & pairs)
    query, model = np.nonzero(columns)
    free, row = np.unique(query, return_inverse=True)
    cost = problem.objective[query, model].astype(np.float64)
    cost_scale = _power_of_two(cost) if scaled else 1.0

    k_rows: list[Ints] = [row]
    k_columns: list[Ints] = [np.arange(query.size)]
    k_values: list[Floats] = [np.ones(query.size)]
    start = free.size
    for rows in problem.rows:
        usage = rows.taken(query, model).astype(np.float64)
        pool = entries(rows.pool, query, model)
        taken = np.flatnonzero((pool >= 0) & (usage != 0))
        k_rows.append(start + pool[taken])
        k_columns.append(taken)
        k_values.append(usage[taken])
        start += rows.n_pools

    upper = problem.target if scaled else problem.limit
    offset = 0.0
    if base is not None and free.size < problem.n_queries:
        fixed = np.ones(problem.n_queries, bool)
        fixed[free] = False
        upper = upper - use_of(problem, base, np.flatnonzero(fixed))
        kept = np.flatnonzero(fixed)
        offset = float(problem.objective[kept, base[kept]].sum(dtype=np.float64))

    row_index = np.concatenate(k_rows)
    values = np.concatenate(k_values)
    row_scale = np.ones(problem.n_rows)
    coupling = row_index >= free.size
    for r in np.unique(row_index[coupling]) if scaled else ():
        row_scale[r - free.size] = _power_of_two(values[row_index == r])
    values[coupling] *= row_scale[row_index[coupling] - free.size]
    matrix = sp.csr_array(
        (values, (row_index, np.concatenate(k_columns))), shape=(start, query.size)
    )
    matrix.sort_indices()
    return LinearForm(
        query=query,
        model=model,
        cost=cost * cost_scale,
        matrix=matrix,
        lower=np.r_[np.ones(free.size), np.full(problem.n_rows, -np.inf)],
        upper=np.r_[np.ones(free.size), upper * row_scale],
        free=free,
        cost_scale=cost_scale,
        row_scale=row_scale,
        offset=offset,
    )


def use_of(problem: RoutingProblem, assignment: Ints, queries: Ints) -> Floats:
    """Use of every row by some queries of a routing, in floating point, shape ``(K,)``."""
    used: list[Floats] = [np.empty(0)]
    routed = assignment[queries]
    for rows in problem.rows:
        usage = rows.taken(queries, routed)
        pool = entries(rows.pool, queries, routed)
        used.append(pool_sums(usage, pool, rows.n_pools))
    return np.concatenate(used)


def _power_of_two(values: Floats) -> float:
    """The power of two that brings the median nonzero size to between 1 and 2.

    Unless that would take the largest above what solvers accept.
    """
    sizes = np.abs(values[values != 0])
    if sizes.size == 0:
        return 1.0
    typical = max(float(np.median(sizes)), float(sizes.max()) / _LARGEST, _SMALLEST)
    return float(2.0 ** -np.floor(np.log2(typical)))
