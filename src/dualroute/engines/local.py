"""Passes over a table in memory, in scaled units, so that a solver sees numbers near 1.

The solver's seam: it sends ``K`` prices and gets back ``K``-vectors, ``K x K`` matrices and
counts, whatever holds the table. The passes themselves are `dualroute.sweep`'s.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from dualroute.arrays import Bools, Floats, Ints, part_of, pool_sums
from dualroute.problem import Prices, RoutingProblem, price_pairs, regrets
from dualroute.sweep import Chunk, Sweeper, WideChunk, total, used_by

_HAIR = 1e-15  # of a pair's objective: what rounding may move it by
_NEGLIGIBLE = 36.0  # a model this many heats above the best has softmin weight 2e-16


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """One pass at given prices; all numbers scaled.

    Attributes
    ----------
    value
        The Lagrangian itself, never the smoothed one.
    smoothed
        The Lagrangian with softmin for min, at most `value`.
    gradient
        Of `smoothed`, shape ``(K,)``: expected use minus limit.
    hessian
        Of `smoothed`, shape ``(K, K)``, negative semidefinite.
    near_ties
        How many queries have more than one model in play at this temperature.
    """

    value: float
    smoothed: float
    gradient: Floats
    hessian: Floats
    near_ties: int


@dataclass(frozen=True, slots=True, eq=False)
class Cuts:
    """One exact supporting plane of the Lagrangian per block of queries; scaled.

    The block's part of the Lagrangian at any prices ``q`` is at most
    ``cost[b] + use[b] @ q``.

    Attributes
    ----------
    cost
        Objective of each block's assignment, shape ``(B,)``.
    use
        Its use of every row, shape ``(B, K)``.
    value
        The Lagrangian at the prices of the pass.
    assignment
        Model per query, shape ``(n,)``.
    """

    cost: Floats
    use: Floats
    value: float
    assignment: Ints


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """What is left of a problem where prices stay within a box: few free queries.

    Attributes
    ----------
    problem
        The free queries, limits less what the settled ones use.
    free
        Their numbers in the whole problem, shape ``(f,)``.
    settled
        Model of every query at the centre of the box, shape ``(n,)``; right anywhere in the box
        for those that are not free.
    cost
        Objective of the settled queries.
    """

    problem: RoutingProblem
    free: Ints
    settled: Ints
    cost: float

    def whole(self, assignment: Ints) -> Ints:
        """A routing of the free queries, with the settled ones, shape ``(n,)``."""
        routed = self.settled.copy()
        routed[self.free] = assignment
        return routed


@dataclass(frozen=True, eq=False)
class LocalEngine:
    """Evaluates the Lagrangian of a problem held in memory.

    Scaled, a mean query costs about 1 and using a row up to its limit takes 1; a scaled price
    is then the part of the total cost that a limit is worth.

    Attributes
    ----------
    problem
        The problem, in its own units.
    threads
        Most threads of a pass; they change no digit.
    value_scale
        Scaled value per unit of objective.
    row_scale
        Scaled use per unit of each row, shape ``(K,)``.
    """

    problem: RoutingProblem
    threads: int = 1
    value_scale: float = field(init=False)
    row_scale: Floats = field(init=False)

    def __post_init__(self) -> None:
        """Measure the scales."""
        problem = self.problem
        object.__setattr__(self, "value_scale", 1.0 / (problem.objective_size * problem.n_queries))
        object.__setattr__(self, "row_scale", 1.0 / problem.row_size)

    @cached_property
    def sweeper(self) -> Sweeper:
        """The passes."""
        return Sweeper(self.problem, self.threads)

    @property
    def limit(self) -> Floats:
        """Scaled limits, shape ``(K,)``."""
        return self.problem.limit * self.row_scale

    def prices(self, scaled: Floats) -> Prices:
        """Prices in the problem's own units."""
        return Prices.of(self.problem, scaled * self.row_scale / self.value_scale)

    def scaled(self, prices: Prices) -> Floats:
        """Prices in scaled units, shape ``(K,)``."""
        return prices.vector * self.value_scale / self.row_scale

    def evaluate(self, scaled: Floats, temperature: float) -> Evaluation:
        """One pass: value, and value, gradient and Hessian of the smoothed Lagrangian.

        Only queries whose two cheapest models are within a few dozen heats of each other feel
        the smoothing; the others count as they stand.

        Parameters
        ----------
        scaled
            Scaled prices, shape ``(K,)``.
        temperature
            Of the softmin, relative to a mean query's cost; above 0.
        """
        problem, prices = self.problem, self.prices(scaled)
        heat = temperature / (self.value_scale * problem.n_queries)

        def visit(chunk: Chunk) -> tuple[float, float, Floats, Floats, int]:
            near = np.flatnonzero(chunk.second - chunk.best < _NEGLIGIBLE * heat)
            if near.size == 0:
                return chunk.value, 0.0, chunk.use, np.zeros((1, 1)), 0
            queries = chunk.start + near
            priced = price_pairs(problem, prices, queries)
            best = chunk.best[near]
            weights = np.exp((best[:, None] - priced) / heat)
            mass = weights.sum(axis=1)
            weights /= mass[:, None]
            moved = self._expected(queries, weights) - used_by(problem, chunk.chosen[near], queries)
            softer = -heat * float(np.log(mass).sum())
            curved = self._spread(queries, weights)
            return chunk.value, softer, chunk.use + moved, curved, near.size

        parts = self.sweeper.sweep(prices, visit)
        value = sum(part[0] for part in parts) - float(prices.vector @ problem.limit)
        expected = total([part[2] for part in parts])
        curved = sum((part[3] for part in parts), np.zeros((problem.n_rows, problem.n_rows)))
        return Evaluation(
            value=value * self.value_scale,
            smoothed=(value + sum(part[1] for part in parts)) * self.value_scale,
            gradient=(expected - problem.limit) * self.row_scale,
            hessian=-curved * np.outer(self.row_scale, self.row_scale) / (heat * self.value_scale),
            near_ties=sum(part[4] for part in parts),
        )

    def cuts(self, scaled: Floats, edges: Ints) -> Cuts:
        """One pass: a supporting plane per block ``edges[b] .. edges[b + 1]`` of queries."""
        prices = self.prices(scaled)
        assignment = np.empty(self.problem.n_queries, np.min_scalar_type(self.problem.n_models))

        def visit(chunk: Chunk) -> tuple[float, float, Floats]:
            assignment[chunk.start : chunk.stop] = chunk.chosen
            return chunk.value, chunk.cost, chunk.use

        parts = self.sweeper.sweep(prices, visit, edges)
        value = sum(part[0] for part in parts) - float(prices.vector @ self.problem.limit)
        return Cuts(
            cost=np.array([part[1] for part in parts]) * self.value_scale,
            use=np.array([part[2] for part in parts]) * self.row_scale,
            value=value * self.value_scale,
            assignment=assignment,
        )

    def sample(self, size: int, seed: int) -> "LocalEngine":
        """An engine over a random part of the queries, limits scaled by its share."""
        generator = np.random.default_rng(seed)
        queries = np.sort(generator.choice(self.problem.n_queries, size, replace=False))
        return LocalEngine(self.problem.take(queries), self.threads)

    def part(self, scaled: Floats, radius: Floats, margin: float) -> Part:
        """The problem that is left where prices stay within a box.

        A query is settled when one model is cheaper than all others by more than `margin` at
        all prices in the box. On the box the Lagrangian of the part, plus the settled queries'
        cost, is that of the whole, and no settled query has another pair of reduced cost
        `margin` or less.

        Parameters
        ----------
        scaled
            Centre of the box, scaled prices, shape ``(K,)``.
        radius
            Half-widths, shape ``(K,)``.
        margin
            In objective units.
        """
        problem, prices = self.problem, self.prices(scaled)
        settled = np.empty(problem.n_queries, np.int32)

        def visit(chunk: WideChunk) -> tuple[Ints, float, Floats]:
            settled[chunk.start : chunk.stop] = chunk.chosen
            return chunk.start + np.flatnonzero(~chunk.settled), chunk.cost, chunk.use

        spread = radius * self.row_scale / self.value_scale
        parts = self.sweeper.sweep_wide(prices, spread, _HAIR, margin, visit)
        free = np.concatenate([part[0] for part in parts])
        used = total([part[2] for part in parts])
        left = problem.take(free, problem.limit - used) if free.size else problem
        return Part(left, free, settled, float(sum(part[1] for part in parts)))

    def core(self, scaled: Floats, threshold: float) -> Bools:
        """Pairs whose reduced cost is at most a threshold, in objective units, ``(n, m)``."""
        prices = self.prices(scaled)
        near = [
            regrets(self.problem, prices, block) <= threshold for block in self.problem.blocks()
        ]
        return np.concatenate(near)

    def core_sizes(self, scaled: Floats, thresholds: Floats) -> Ints:
        """How many pairs `core` would leave open at each threshold, one pass for all.

        A query with one pair within the threshold is settled and counts nothing.
        """
        prices = self.prices(scaled)
        sizes = np.zeros(thresholds.size, np.int64)
        for block in self.problem.blocks():
            reduced = regrets(self.problem, prices, block)
            for k, threshold in enumerate(thresholds):
                counts = np.count_nonzero(reduced <= threshold, axis=1)
                sizes[k] += int(counts[counts > 1].sum())
        return sizes

    def _expected(self, queries: Ints, weights: Floats) -> Floats:
        """Expected use of every row when models are drawn with these weights, ``(K,)``."""
        used: list[Floats] = [np.empty(0)]
        for rows in self.problem.rows:
            pool = part_of(rows.pool, queries)
            taken = weights * rows.signed(part_of(rows.usage, queries))
            if pool.shape[0] == 1:  # the pool depends on the model alone: sum queries first
                pool, taken = pool[0], taken.sum(axis=0)
            spread = np.broadcast_to(pool, taken.shape).ravel()
            used.append(pool_sums(taken.ravel(), spread, rows.n_pools))
        return np.concatenate(used)

    def _spread(self, queries: Ints, weights: Floats) -> Floats:
        """Sum over queries of the covariance of row use under these weights, ``(K, K)``."""
        problem = self.problem
        t, m = weights.shape
        lines: list[Ints] = []
        columns: list[Ints] = []
        values: list[Floats] = []
        offset = 0
        for rows in problem.rows:
            pool = np.broadcast_to(part_of(rows.pool, queries), (t, m)).ravel()
            usage = np.broadcast_to(rows.signed(part_of(rows.usage, queries)), (t, m)).ravel()
            taken = np.flatnonzero((pool >= 0) & (usage != 0) & (weights.ravel() > 1e-14))
            lines.append(taken)
            columns.append(pool[taken] + offset)
            values.append(usage[taken].astype(np.float64))
            offset += rows.n_pools
        use = sp.csr_array(
            (np.concatenate(values), (np.concatenate(lines), np.concatenate(columns))),
            shape=(t * m, problem.n_rows),
        )
        flat = weights.ravel()
        second = use.T @ sp.csr_array(use.multiply(flat[:, None]))
        starts = np.arange(t + 1) * m
        draw = sp.csr_array((flat, np.arange(t * m), starts), shape=(t, t * m))
        mean = draw @ use
        spread: Floats = (second - mean.T @ mean).toarray()
        return spread
