"""Passes over a table in memory, in scaled units, so that a solver sees numbers near 1.

The solver's seam: it sends ``K`` prices and gets back ``K``-vectors, ``K x K`` matrices and
counts, whatever holds the table. This engine is the plain numpy pass.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import scipy.sparse as sp

from dualroute.arrays import Bools, Floats, Ints, part_of, pool_sums
from dualroute.linear import use_of
from dualroute.problem import Prices, RoutingProblem, price_pairs, regrets

_SURE = 1e-9  # a query whose best model has softmin weight above 1 - this bends nothing


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
class LocalEngine:
    """Evaluates the Lagrangian of a problem held in memory.

    Scaled, a mean query costs about 1 and using a row up to its limit takes 1; a scaled price
    is then the part of the total cost that a limit is worth.

    Attributes
    ----------
    problem
        The problem, in its own units.
    value_scale
        Scaled value per unit of objective.
    row_scale
        Scaled use per unit of each row, shape ``(K,)``.
    """

    problem: RoutingProblem
    value_scale: float = field(init=False)
    row_scale: Floats = field(init=False)

    def __post_init__(self) -> None:
        """Measure the scales."""
        problem = self.problem
        object.__setattr__(self, "value_scale", 1.0 / (problem.objective_size * problem.n_queries))
        object.__setattr__(self, "row_scale", 1.0 / problem.row_size)

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

        Parameters
        ----------
        scaled
            Scaled prices, shape ``(K,)``.
        temperature
            Of the softmin, relative to a mean query's cost; above 0.
        """
        problem, prices = self.problem, self.prices(scaled)
        heat = temperature / (self.value_scale * problem.n_queries)
        value = soft = 0.0
        k = problem.n_rows
        expected, curved = np.zeros(k), np.zeros((k, k))
        near_ties = 0
        for block in problem.blocks():
            priced = price_pairs(problem, prices, block)
            best = priced.min(axis=1, keepdims=True)
            weights = np.exp((best - priced) / heat)
            mass = weights.sum(axis=1, keepdims=True)
            weights /= mass
            value += float(best.sum())
            soft += float(best.sum()) - heat * float(np.log(mass).sum())
            unsure = np.flatnonzero(weights.max(axis=1) < 1.0 - _SURE)
            near_ties += unsure.size
            expected += self._expected(block, weights)
            if unsure.size:
                curved += self._spread(block.start + unsure, weights[unsure])
        idle = float(prices.vector @ problem.limit)
        return Evaluation(
            value=(value - idle) * self.value_scale,
            smoothed=(soft - idle) * self.value_scale,
            gradient=(expected - problem.limit) * self.row_scale,
            hessian=-curved * np.outer(self.row_scale, self.row_scale) / (heat * self.value_scale),
            near_ties=near_ties,
        )

    def cuts(self, scaled: Floats, edges: Ints) -> Cuts:
        """One pass: a supporting plane per block ``edges[b] .. edges[b + 1]`` of queries."""
        problem, prices = self.problem, self.prices(scaled)
        assignment = np.empty(problem.n_queries, np.min_scalar_type(problem.n_models))
        cost, use = np.empty(edges.size - 1), np.empty((edges.size - 1, problem.n_rows))
        priced_total = 0.0
        for b, (start, stop) in enumerate(pairwise(edges)):
            cost[b], use[b] = 0.0, 0.0
            for at in range(start, stop, 4096):
                part = slice(at, min(at + 4096, stop))
                priced = price_pairs(problem, prices, part)
                best = priced.argmin(axis=1)
                assignment[part] = best
                priced_total += float(np.take_along_axis(priced, best[:, None], 1).sum())
                taken = np.take_along_axis(problem.objective[part], best[:, None], 1)
                cost[b] += float(taken.sum(dtype=np.float64))
            use[b] = use_of(problem, assignment, np.arange(start, stop))
        value = priced_total - float(prices.vector @ problem.limit)
        return Cuts(
            cost=cost * self.value_scale,
            use=use * self.row_scale,
            value=value * self.value_scale,
            assignment=assignment,
        )

    def sample(self, size: int, seed: int) -> "LocalEngine":
        """An engine over a random part of the queries, limits scaled by its share."""
        generator = np.random.default_rng(seed)
        queries = np.sort(generator.choice(self.problem.n_queries, size, replace=False))
        return LocalEngine(self.problem.take(queries))

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

    def _expected(self, block: slice, weights: Floats) -> Floats:
        """Expected use of every row when models are drawn with these weights, ``(K,)``."""
        total: list[Floats] = [np.empty(0)]
        for rows in self.problem.rows:
            pool = part_of(rows.pool, block)
            taken = weights * part_of(rows.usage, block)
            if pool.shape[0] == 1:  # the pool depends on the model alone: sum queries first
                pool, taken = pool[0], taken.sum(axis=0)
            spread = np.broadcast_to(pool, taken.shape).ravel()
            total.append(pool_sums(taken.ravel(), spread, rows.n_pools))
        return np.concatenate(total)

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
            usage = np.broadcast_to(part_of(rows.usage, queries), (t, m)).ravel()
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
