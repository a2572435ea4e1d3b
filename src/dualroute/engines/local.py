"""Passes over a table in memory, in scaled units, so that a solver sees numbers near 1.

The solver's seam: it sends ``K`` prices and gets back ``K``-vectors, ``K x K`` matrices and
counts, whatever holds the table. The passes themselves are `dualroute.sweep`'s.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import itemgetter

import numpy as np
import scipy.sparse as sp

from dualroute.arrays import Bools, Floats, Ints, part_of, pool_sums
from dualroute.problem import Prices, RoutingProblem, price_pairs, regrets
from dualroute.sweep import BoxChunk, Chunk, Sweeper, in_play, total, used_by

GOLDEN = (5**0.5 - 1) / 2
NEGLIGIBLE = 36.0  # a model this many heats above the best has softmin weight 2e-16
_PIECE = 2**15  # queries of a part that are copied at a time
_MOST_NEAR = 0.5  # part of the queries, above which all may as well be looked at


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


@dataclass(frozen=True, slots=True, eq=False)
class Types:
    """What is left of a problem in a box of prices, equal queries counted and not repeated.

    Attributes
    ----------
    problem
        One query for each of ``T`` types: what its members would cost and use together beyond
        one reference model each, whose cost and use are taken off.
    free
        The queries that are not settled, shape ``(f,)``.
    kind
        Type of each of them.
    size
        How many there are of each type, shape ``(T,)``.
    settled
        As in `Part`.
    cost
        Objective of the settled queries, and of the free ones on their reference models.
    """

    problem: RoutingProblem
    free: Ints
    kind: Ints
    size: Ints
    settled: Ints
    cost: float

    def spread(self, shares: Floats) -> Ints:
        """A routing in which the members of each type have these shares, ``(T, m)``, rounded.

        Whole numbers per type, rounded at a point that differs from type to type so that what
        rounding does cancels out over many (systematic sampling).
        """
        share = shares / shares.sum(axis=1, keepdims=True)
        reached = np.cumsum(share, axis=1) * self.size[:, None]
        reached[:, -1] = self.size
        point = (np.arange(self.size.size) * GOLDEN % 1.0)[:, None]
        counts = np.diff(np.floor(reached + point), axis=1, prepend=0.0).astype(np.intp)
        from dualroute import kernels

        routed = self.settled.copy()
        kernels.deal(self.kind, counts, self.free, routed)
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
    compiled
        Whether passes are compiled; by default where the table is large.
    value_scale
        Scaled value per unit of objective.
    row_scale
        Scaled use per unit of each row, shape ``(K,)``.
    """

    problem: RoutingProblem
    threads: int = 1
    compiled: bool | None = None
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
        return Sweeper(self.problem, self.threads, self.compiled)

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
        return self._evaluated(scaled, temperature, lambda chunk: None)

    def survey(self, scaled: Floats, temperature: float) -> tuple[Evaluation, "Survey"]:
        """What `evaluate` gives, and what the same pass saw of every query."""
        n = self.problem.n_queries
        lead, chosen = np.empty(n, np.float32), np.empty(n, np.int32)
        seen = []

        def keep(chunk: Chunk) -> None:
            part = slice(chunk.start, chunk.stop)
            with np.errstate(over="ignore"):
                lead[part] = chunk.second - chunk.best
            chosen[part] = chunk.chosen
            seen.append((chunk.start, chunk.cost, chunk.use))

        here = self._evaluated(scaled, temperature, keep)
        seen.sort(key=itemgetter(0))
        cost, use = sum(part[1] for part in seen), total([part[2] for part in seen])
        return here, Survey(self, self.prices(scaled), lead, chosen, cost, use)

    def _evaluated(
        self, scaled: Floats, temperature: float, keep: Callable[[Chunk], None]
    ) -> Evaluation:
        """What `evaluate` gives; `keep` sees every chunk on the way, on any thread.

        Only queries whose two cheapest models are within a few dozen heats of each other feel
        the smoothing; the others count as they stand.
        """
        problem, prices = self.problem, self.prices(scaled)
        heat = temperature / (self.value_scale * problem.n_queries)
        soften = self._softener(prices, heat)

        def visit(chunk: Chunk) -> tuple[float, float, Floats, Floats, int]:
            keep(chunk)
            log_mass, moved, curved, near = soften(chunk)
            return chunk.value, -heat * log_mass, chunk.use + moved, curved, near

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
        problem, prices = self.problem, self.prices(scaled)
        parts = self.sweeper.sweep(prices, lambda chunk: (chunk.value, chunk.chosen))
        value = sum(part[0] for part in parts) - float(prices.vector @ problem.limit)
        chosen = np.concatenate([part[1] for part in parts])
        cost, use = self.sweeper.use_by_block(chosen, edges)
        return Cuts(
            cost=cost * self.value_scale,
            use=use * self.row_scale,
            value=value * self.value_scale,
            assignment=chosen.astype(np.min_scalar_type(problem.n_models), copy=False),
        )

    def sample(self, size: int, seed: int) -> "LocalEngine":
        """An engine over a random part of the queries, limits scaled by its share."""
        # One query of each of `size` equal stretches of the table.
        edges = np.linspace(0, self.problem.n_queries, size + 1).astype(np.intp)
        queries = np.random.default_rng(seed).integers(edges[:-1], edges[1:])
        return self.over(self.problem.take(queries))

    def over(self, problem: RoutingProblem) -> "LocalEngine":
        """An engine over some of the queries, whose passes are compiled where this one's are."""
        return LocalEngine(problem, self.threads, self.sweeper.compiled)

    def like(self, problem: RoutingProblem) -> "LocalEngine":
        """An engine over the same queries in another order, whose scales are this one's."""
        other = self.over(problem)
        object.__setattr__(other, "value_scale", self.value_scale)
        object.__setattr__(other, "row_scale", self.row_scale)
        return other

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
        return self._part(self.prices(scaled), self._spread_of(radius), margin)

    def _part(self, prices: Prices, spread: Floats, margin: float) -> Part:
        return _part_of(self.problem, *_settled(self.sweeper, prices, spread, margin))

    def types(self, scaled: Floats, radius: Floats) -> Types:
        """The same without a margin, equal free queries merged; needs `Sweeper.signs`.

        On the box the Lagrangian of the types, plus `Types.cost`, is that of the whole.
        """
        from dualroute import kernels

        problem, prices, spread = self.problem, self.prices(scaled), self._spread_of(radius)
        n = problem.n_queries
        settled, free, reference = (np.empty(n, np.int32) for _ in range(3))
        signature = np.empty(n, np.uint64)

        def visit(chunk: BoxChunk) -> tuple[int, int, float, Floats, Floats]:
            settled[chunk.start : chunk.stop] = chunk.chosen
            left = np.flatnonzero(~chunk.settled)
            part = slice(chunk.start, chunk.start + left.size)
            free[part], signature[part] = chunk.start + left, chunk.signature[left]
            reference[part] = chunk.reference[left]
            cost = chunk.cost + chunk.spared_cost
            return chunk.start, left.size, cost, chunk.use, chunk.spared_use

        parts = self.sweeper.sweep_box(prices, spread, 0.0, visit, sign=True)
        held = np.concatenate([np.arange(p[0], p[0] + p[1], dtype=np.int32) for p in parts])
        if held.size < n:
            free, signature, reference = free[held], signature[held], reference[held]
        del held
        kind, first, size = (np.empty(free.size, np.int32) for _ in range(3))
        n_types = kernels.number_alike(signature, kind, first, size)
        first, size = first[:n_types].copy(), size[:n_types].copy()
        queries, origin = free[first], reference[first][:, None]
        weight = size[:, None].astype(np.float64)
        _, playing = in_play(problem, prices, spread, 0.0, queries)
        objective = problem.objective[queries].astype(np.float64)
        objective -= np.take_along_axis(objective, origin, axis=1)
        limit = problem.limit - total([p[3] for p in parts])
        spared = problem.split(total([p[4] for p in parts]))
        families = []
        for rows, left, there in zip(problem.rows, problem.split(limit), spared, strict=True):
            usage = np.broadcast_to(part_of(rows.usage, queries), objective.shape)
            usage = usage.astype(np.float64)
            # Where all models take out of one pool, only what they take beyond the reference
            # is left to decide.
            if rows.usage.shape[1] > 1 and np.ptp(rows.pool) == 0 and rows.pool[0, 0] >= 0:
                usage = usage - np.take_along_axis(usage, origin, axis=1)
                left = left - there
            families.append(replace(rows, usage=weight * usage, limit=left))
        merged = replace(
            problem,
            objective=np.where(playing, weight * objective, np.inf),
            rows=tuple(families),
        )
        return Types(merged, free, kind, size, settled, sum(p[2] for p in parts))

    def restricted(self, free: Ints, base: Ints) -> Part:
        """The problem of some queries while the others stay as in a routing, shape ``(n,)``."""
        problem = self.problem
        kept = base.astype(np.int32)
        kept[free] = -1
        cost, used = self.sweeper.use_of(kept)
        return Part(problem.take(free, problem.limit - used), free, base, cost)

    def _spread_of(self, radius: Floats) -> Floats:
        """Half-widths of a box in the problem's own units."""
        spread: Floats = radius * self.row_scale / self.value_scale
        return spread

    def core(self, scaled: Floats, threshold: float) -> Bools:
        """Pairs whose reduced cost is at most a threshold, in objective units, ``(n, m)``."""
        prices = self.prices(scaled)
        near = [
            regrets(self.problem, prices, block) <= threshold for block in self.problem.blocks()
        ]
        return np.concatenate(near)

    def _softener(
        self, prices: Prices, heat: float
    ) -> Callable[[Chunk], tuple[float, Floats, Floats, int]]:
        """What softmin in place of min does to a chunk, see `Sweeper.softener`."""
        if self.sweeper.compiled:
            return self.sweeper.softener(prices, heat, NEGLIGIBLE)
        problem = self.problem

        def soften(chunk: Chunk) -> tuple[float, Floats, Floats, int]:
            near = np.flatnonzero(chunk.second - chunk.best < NEGLIGIBLE * heat)
            if near.size == 0:
                none = np.zeros(problem.n_rows)
                return 0.0, none, np.zeros((none.size, none.size)), 0
            queries = chunk.start + near
            priced = price_pairs(problem, prices, queries)
            weights = np.exp((priced.min(axis=1, keepdims=True) - priced) / heat)
            mass = weights.sum(axis=1)
            weights /= mass[:, None]
            moved = self._expected(queries, weights)
            moved -= used_by(problem, chunk.chosen[near], queries)
            return float(np.log(mass).sum()), moved, self._spread(queries, weights), near.size

        return soften

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
        if not problem.rows:
            return np.zeros((0, 0))
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


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """What one pass saw of every query, so that the next need not look at all of them again.

    Attributes
    ----------
    engine
        Over all queries.
    prices
        Of the pass, in the problem's own units.
    lead
        How much dearer the second cheapest model is, shape ``(n,)``, to 24 bits.
    chosen
        The cheapest model, shape ``(n,)``.
    cost, use
        Objective, and use of every row ``(K,)``, of all queries on that.
    """

    engine: LocalEngine
    prices: Prices
    lead: Floats
    chosen: Ints
    cost: float
    use: Floats

    def part(self, scaled: Floats, radius: Floats, margin: float) -> Part:
        """What `LocalEngine.part` gives; only queries that the box might change are looked at.

        On the way from the prices of the pass to any in the box, the costs of two models of a
        query part by no more than `RoutingProblem.parting` tells.
        """
        engine, problem = self.engine, self.engine.problem
        prices, spread = engine.prices(scaled), engine._spread_of(radius)
        moved = np.abs(prices.vector - self.prices.vector) + spread
        near = np.flatnonzero(self.lead <= 1.000001 * (margin + problem.parting(moved)))
        if near.size == 0 or near.size > _MOST_NEAR * self.lead.size:
            return engine._part(prices, spread, margin)
        settled, free = self.chosen.copy(), []
        cost, used = self.cost, self.use
        for queries in np.array_split(near, math.ceil(near.size / _PIECE)):
            sweeper = Sweeper(problem.take(queries), engine.threads, engine.sweeper.compiled)
            cost_then, used_then = sweeper.use_of(self.chosen[queries])
            left, settled[queries], cost_now, used_now = _settled(sweeper, prices, spread, margin)
            free.append(queries[left])
            cost, used = cost - cost_then + cost_now, used - used_then + used_now
        return _part_of(problem, np.concatenate(free), settled, cost, used)


def _settled(
    sweeper: Sweeper, prices: Prices, spread: Floats, margin: float
) -> tuple[Ints, Ints, float, Floats]:
    """Which queries a box leaves free, all models at its centre; cost and use of the others."""
    chosen = np.empty(sweeper.problem.n_queries, np.int32)

    def visit(chunk: BoxChunk) -> tuple[Ints, float, Floats]:
        chosen[chunk.start : chunk.stop] = chunk.chosen
        return chunk.start + np.flatnonzero(~chunk.settled), chunk.cost, chunk.use

    parts = sweeper.sweep_box(prices, spread, margin, visit)
    free = np.concatenate([part[0] for part in parts])
    return free, chosen, float(sum(part[1] for part in parts)), total([part[2] for part in parts])


def _part_of(problem: RoutingProblem, free: Ints, settled: Ints, cost: float, used: Floats) -> Part:
    """The part that is left by queries of this cost and use."""
    left = problem.take(free, problem.limit - used) if free.size else problem
    return Part(left, free, settled, cost)
