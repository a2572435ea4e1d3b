"""A cutting-plane polish that reaches the optimum of the linear relaxation, ties or not.

The queries are split into blocks; every pass adds one supporting plane per block to a small
master LP over (prices, block values), solved in HiGHS inside a box around the best prices that
grows on ascent and shrinks otherwise (the disaggregated bundle method in the infinity norm;
Kelley 1960, doi:10.1137/0108053; Marsten, Hogan & Blankenship 1975, doi:10.1287/opre.23.3.389;
the radius by the rule of Linderoth & Wright 2001, arXiv math/0106151).
The master's value with an inactive box is an upper bound on the dual: when it meets the best
value, primal and dual agree, and the master's own duals mix the planes into a fractional routing.
"""

import math
from dataclasses import dataclass
from typing import Any

import highspy
import numpy as np
from numpy.typing import NDArray

from dualroute.arrays import Floats, Ints
from dualroute.engines.local import GOLDEN, Cuts, LocalEngine
from dualroute.highs import QuietHighs
from dualroute.problem import RoutingProblem
from dualroute.solver import Clock
from dualroute.solvers.lagrangian.ascent import Box, Tell

_MAGNIFY = 1e4  # the master's totals, so that HiGHS's absolute tolerance is 1e-13 of them
_MAX_PASSES = 400
_NEARLY_WHOLE = 0.999
_BLOCKS = 32  # more make a sharper master, whose passes cost more than they save
_NOISE = 1e-13  # what HiGHS's tolerance leaves of a total near 1
_MASTER_SECONDS = 2.0
_SERIOUS = 0.05  # part of the promise that a step is to gain
_BAD, _MOST_NULLS = 3.0, 3


@dataclass(frozen=True, slots=True, eq=False)
class Mix:
    """A fractional routing: each block's planes with their weights.

    Attributes
    ----------
    weights
        Shape ``(passes, blocks)``; each column sums to 1.
    cuts
        The planes.
    edges
        Bounds of the blocks of queries.
    n_models
        ``m``.
    order
        Which query is which in the blocks, shape ``(n,)``; None if each is itself.
    """

    weights: Floats
    cuts: tuple[Cuts, ...]
    edges: Ints
    n_models: int
    order: Ints | None = None

    def shares(self, block: int) -> Floats:
        """Share of each model in each query of a block, shape ``(queries, m)``."""
        start, stop = self.edges[block], self.edges[block + 1]
        tally = np.zeros((stop - start, self.n_models))
        lines = np.arange(stop - start)
        # The last planes may have come after the last master.
        for c in np.flatnonzero(self.weights[:, block] > 1e-12):
            tally[lines, self.cuts[c].assignment[start:stop]] += self.weights[c, block]
        return tally

    def every_share(self) -> Floats:
        """Share of each model in each query, shape ``(n, m)``."""
        return self._in_order([self.shares(b) for b in range(self.edges.size - 1)])

    def votes(self, few: int) -> Ints:
        """A model for each query, shape ``(n,)``.

        The one of the largest share, where no more than `few` queries are divided among models;
        where more are, models are dealt out by their shares (systematic sampling), so that what
        all take together stays what it is in the mix.
        """
        found = []
        for b in range(self.edges.size - 1):
            share = self.shares(b)
            best = share.argmax(axis=1)
            divided = np.flatnonzero(share.max(axis=1) < _NEARLY_WHOLE)
            if divided.size > few / self.weights.shape[1]:
                reached = np.cumsum(share[divided], axis=1)
                point = (np.arange(divided.size) + 0.5) * GOLDEN % 1.0 * reached[:, -1]
                best[divided] = (reached <= point[:, None]).sum(axis=1)
            found.append(best)
        return self._in_order(found)

    def _in_order(self, by_block: list[NDArray[Any]]) -> NDArray[Any]:
        """What is known of every query, block by block, in the order of the queries."""
        found = np.concatenate(by_block)
        if self.order is not None:
            found[self.order] = found.copy()
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Polished:
    """Where the polish ended; all numbers scaled.

    Attributes
    ----------
    scaled
        Best prices, shape ``(K,)``.
    value
        The Lagrangian there.
    upper
        No prices do better than this within the box last used; `inf` before the first master.
    exact
        Whether `value` meets the upper bound all over the box: with prices inside it, the
        optimum of the linear relaxation.
    unbounded
        Whether the dual rose above every possible routing: the limits contradict each other.
    late
        Whether the clock ended it.
    mix
        The fractional routing that the master's duals make of the planes.
    passes
        Full passes made.
    tried
        Where they were made, in their order, shape ``(passes, K)``.
    """

    scaled: Floats
    value: float
    upper: float
    exact: bool
    unbounded: bool
    late: bool
    mix: Mix
    passes: int
    tried: Floats


def polish(
    engine: LocalEngine,
    start: Floats,
    *,
    ceiling: float,
    relative: float,
    clock: Clock,
    box: Box,
    radius: float,
    tell: Tell | None = None,
    around: Floats | None = None,
) -> Polished:
    """Climb from good prices to the optimum of the linear relaxation.

    Parameters
    ----------
    engine
        Over all queries.
    start
        Scaled prices, shape ``(K,)``.
    ceiling
        A scaled value that no routing exceeds; a dual above it proves infeasibility.
    relative
        Stop when the value is this close to its upper bound, relative to its size.
    box
        Where prices may go.
    radius
        First half-width of the trust region.
    tell
        Called with the prices and the scaled value of each new best.
    around
        Other scaled prices to begin with planes at, shape ``(any, K)``: those a sample's polish
        ended among tell what the first trust region would have to find out.
    """
    n = engine.problem.n_queries
    order, edges = _blocks(engine.problem, min(n, _BLOCKS))
    if order is not None:
        engine = _reordered(engine, order)
    widest = float((box.high - box.low).max(initial=0.0))
    master = _Master(engine.limit, edges.size - 1)
    tried = [box.clip(at) for at in (start, *(() if around is None else around))]
    kept = [engine.cuts(at, edges) for at in tried]
    for cuts in kept:
        master.add(cuts)
    first = int(np.argmax([cuts.value for cuts in kept]))
    best, value, passes = tried[first], kept[first].value, len(tried)
    if tell is not None:
        tell(best, value)
    upper, exact, nulls = math.inf, False, 0
    while passes < _MAX_PASSES and not clock.expired and value <= ceiling:
        solved = master.solve(
            np.maximum(best - radius, box.low), np.minimum(best + radius, box.high), clock
        )
        if solved is None:
            break
        trial, upper = solved
        promise = upper - value
        if promise <= max(relative * abs(value), _NOISE):
            # The master is concave: what gains nothing in a box of this width around the best
            # prices gains nothing beyond it either, up to rounding.
            if radius >= min(widest, 1.0 + float(best.max(initial=0.0))):
                exact = True
                break
            radius *= 10
            continue
        at_edge = (trial >= best + 0.999 * radius) | (trial <= best - 0.999 * radius)
        inside = not bool((at_edge & (trial > box.low) & (trial < box.high)).any())
        cuts = engine.cuts(trial, edges)
        passes += 1
        tried.append(trial)
        kept.append(cuts)
        master.add(cuts)
        gained = cuts.value - value
        if gained > 0:
            best, value = trial, cuts.value
            if tell is not None:
                tell(best, value)
            if gained >= 0.3 * promise and not inside:
                radius = min(2 * radius, widest)
        # A null step sharpens the model; only many, or a bad one, speak against the radius.
        fell = -gained / promise * min(1.0, radius / widest)
        nulls = nulls + 1 if gained < _SERIOUS * promise else 0
        if nulls and (fell > _BAD or (fell > 1 and nulls > _MOST_NULLS)):
            radius, nulls = max(radius / min(fell, 4.0), 1e-9), 0
    return Polished(
        scaled=best,
        value=value,
        upper=upper,
        exact=exact,
        unbounded=value > ceiling,
        late=clock.expired,
        mix=Mix(master.weights(), tuple(kept), edges, engine.problem.n_models, order),
        passes=passes,
        tried=np.array(tried),
    )


def _blocks(problem: RoutingProblem, blocks: int) -> tuple[Ints | None, Ints]:
    """Blocks of queries: an order of them, None if as they come; and where each block begins.

    Where queries fall into groups with limits of their own, no block mixes groups: its planes
    then touch few rows, and bound each group's part by itself.
    """
    n = problem.n_queries
    grouped = [r for r in problem.rows if r.pool.shape == (n, 1) and r.n_pools > 1]
    if not grouped:
        return None, np.linspace(0, n, blocks + 1).astype(int)
    group = max(grouped, key=lambda rows: rows.n_pools).pool[:, 0]
    order = np.argsort(group, kind="stable")
    sizes = np.unique(group, return_counts=True)[1]
    parts = np.maximum(1, np.rint(blocks * sizes / n)).astype(int)
    begins = np.concatenate([[0], np.cumsum(sizes)])
    edges = [
        np.linspace(b, e, k + 1)[:-1] for b, e, k in zip(begins, begins[1:], parts, strict=False)
    ]
    return order, np.append(np.concatenate(edges), n).astype(int)


def _reordered(engine: LocalEngine, order: Ints) -> LocalEngine:
    """An engine over the same queries in another order, in the same scale."""
    return engine.like(engine.problem.take(order, engine.problem.limit))


class _Master:
    """The LP over (prices, block values); rows are planes, added pass by pass."""

    def __init__(self, limit: Floats, n_blocks: int) -> None:
        self._k, self._blocks, self._cuts = limit.size, n_blocks, 0
        lp = QuietHighs()
        lp.setOptionValue("primal_feasibility_tolerance", 1e-10)
        lp.setOptionValue("dual_feasibility_tolerance", 1e-10)
        lp.resetGlobalScheduler(True)
        lp.setOptionValue("threads", 1)
        lp.changeObjectiveSense(highspy.ObjSense.kMaximize)
        columns = limit.size + n_blocks
        lp.addVars(
            columns, np.full(columns, -highspy.kHighsInf), np.full(columns, highspy.kHighsInf)
        )
        cost = np.r_[-limit, np.ones(n_blocks)]
        lp.changeColsCost(columns, np.arange(columns, dtype=np.int32), cost)
        self._lp = lp

    def add(self, cuts: Cuts) -> None:
        """One row per block: block value minus use times prices is at most the plane's cost."""
        blocks, k = self._blocks, self._k
        line, row = np.nonzero(cuts.use)
        line = np.concatenate([line, np.arange(blocks)])
        column = np.concatenate([row, k + np.arange(blocks)])
        value = np.concatenate([-cuts.use[cuts.use != 0], np.ones(blocks)])
        by_line = np.argsort(line, kind="stable")
        self._lp.addRows(
            blocks,
            np.full(blocks, -highspy.kHighsInf),
            cuts.cost * _MAGNIFY,
            value.size,
            np.searchsorted(line[by_line], np.arange(blocks)).astype(np.int32),
            column[by_line].astype(np.int32),
            value[by_line],
        )
        self._cuts += 1

    def solve(self, low: Floats, high: Floats, clock: Clock) -> tuple[Floats, float] | None:
        """Best prices inside the box, and the master's value; None if HiGHS fails or cycles."""
        allowed = min(max(clock.left, 0.01), _MASTER_SECONDS)
        self._lp.setOptionValue("time_limit", self._lp.getRunTime() + allowed)
        columns = np.arange(self._k, dtype=np.int32)
        self._lp.changeColsBounds(self._k, columns, low * _MAGNIFY, high * _MAGNIFY)
        self._lp.run()
        if self._lp.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            return None
        prices = np.asarray(self._lp.getSolution().col_value[: self._k]) / _MAGNIFY
        value = float(self._lp.getInfo().objective_function_value) / _MAGNIFY
        return np.clip(prices, low, high), value

    def weights(self) -> Floats:
        """Share of each plane in the mix, shape ``(passes, blocks)``; each column sums to 1."""
        solution = self._lp.getSolution()
        shape = (self._cuts, self._blocks)
        if not solution.dual_valid or len(solution.row_dual) != self._cuts * self._blocks:
            share = np.zeros(shape)
            share[-1] = 1.0
            return share
        shares: Floats = np.abs(np.asarray(solution.row_dual)).reshape(shape)
        return shares
