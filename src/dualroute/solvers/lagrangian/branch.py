"""Branch and bound whose nodes carry prices, so that what it finds can be checked by anyone.

The relaxation of a node over its open pairs is one warm-started run of HiGHS's dual simplex;
only its duals are used: at those prices the bound and the pairs to drop are computed by the
rule the checker applies (`dualroute.region.Region.apply`). Best first with dives (Land & Doig
1960, doi:10.2307/1910129); the query to branch on is chosen by pseudo-costs that a few steps of
the simplex start (reliability branching, Achterberg, Koch & Martin 2005,
doi:10.1016/j.orl.2004.04.002).
"""

import heapq
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from itertools import count
from typing import TypeAlias

import highspy
import numpy as np

from dualroute.arrays import Bools, Floats, Ints, entries
from dualroute.highs import QuietHighs
from dualroute.lattice import implied_bound, least_step
from dualroute.linear import LinearForm, linear_form, use_of
from dualroute.problem import Prices, RoutingProblem, allowed_pairs
from dualroute.proof import Node, Proof, lift, trimmed
from dualroute.region import Region, core_problem
from dualroute.rigour import fractions, rounded_down
from dualroute.rounding import improve, repair
from dualroute.solver import Clock, SolveOptions

_Hints: TypeAlias = tuple[list[int], list[int]]  # vectors to try on each of two children

_STATUS = highspy.HighsModelStatus
_FRACTIONAL = 1e-6
_SOLVES = 3  # of one node's relaxation, each after the last dropped a pair it used
_RELIABLE = 4  # gains seen before a query's pseudo-cost is believed
_CANDIDATES = 4
_PROBE_ITERATIONS = 25
_ROUND_EVERY = 50
_WORTH_NARROWING = 64
_YOUNG = 200
_SHRUNK, _SHRUNK_MUCH = 0.7, 0.2  # of the pairs: worth to start over
_TRY_EVERY = 10
_MOST_VERTICES = 4096
_DIGITS = 10  # of a recorded price: costs nothing, and half the file


@dataclass(frozen=True, slots=True, eq=False)
class BranchAnswer:
    """What the branch and bound holds when it stops.

    Attributes
    ----------
    assignment
        The best routing of this problem, shape ``(n,)``; None if none was given or found.
    bound
        No routing of this problem that keeps its `target` is below this, nor below the
        objective to beat by more than the step; computed by the checker's rule.
    proof
        A tree that proves the bound; of a search that was stopped, one that stops short.
    nodes
        Relaxed.
    complete
        Whether the tree is closed.
    interrupted
        Whether Ctrl-C ended it.
    """

    assignment: Ints | None
    bound: float
    proof: Proof
    nodes: int
    complete: bool
    interrupted: bool = False


def branch(
    problem: RoutingProblem,
    *,
    prices: Prices | None = None,
    incumbent: Ints | None = None,
    objective: float = math.inf,
    options: SolveOptions | None = None,
    clock: Clock | None = None,
    resolution: float | None = None,
    step: float | None = None,
    offer: Callable[[Ints], None] | None = None,
    max_nodes: int = 1_000_000,
) -> BranchAnswer:
    """Search a small problem, or a core, for a better routing, until there provably is none.

    Parameters
    ----------
    problem
        Its limits are kept up to their `target`; pass it through `dualroute.lattice.tightened`
        first where usage is on a lattice.
    prices
        Applied at the root before the first relaxation.
    incumbent
        A routing to beat, shape ``(n,)``; passed over where it breaks a target.
    objective
        An objective to beat, where the routing that has it is not one of this problem.
    resolution
        Objectives are multiples of this (`dualroute.lattice.find_resolution`).
    step
        By how much a routing must be better to matter (`dualroute.lattice.least_step`); from the
        problem if not given. Give that of the whole problem where this is a core.
    offer
        Called with every better routing.
    max_nodes
        Stop after so many.

    Returns
    -------
    BranchAnswer
        On Ctrl-C, or when the clock or the nodes run out, what is held by then.
    """
    search = Search(
        problem,
        prices=prices,
        objective=objective,
        options=options,
        resolution=resolution,
        step=step,
        offer=offer,
    )
    if incumbent is not None:
        search.take(incumbent)
    return search.go_on(clock or Clock(math.inf), max_nodes)


@dataclass(slots=True, eq=False)
class _Grown:
    """A node: what is open, the bound, what was applied, and its children once it has them."""

    pairs: Bools | None
    bound: float
    depth: int
    hints: list[int]
    vectors: list[int] = field(default_factory=list)
    closed: bool = False
    split: tuple[int, tuple[tuple[int, ...], ...], tuple["_Grown", ...]] | None = None


class Search:
    """The tree of `branch`, to be gone on with: what a turn has grown is there in the next.

    Parameters are those of `branch`.
    """

    def __init__(
        self,
        problem: RoutingProblem,
        *,
        prices: Prices | None = None,
        objective: float = math.inf,
        options: SolveOptions | None = None,
        resolution: float | None = None,
        step: float | None = None,
        offer: Callable[[Ints], None] | None = None,
    ) -> None:
        self.problem, self.options = problem, options or SolveOptions()
        self.prices, self.clock = prices, Clock(math.inf)
        self.resolution, self.given_step, self.offer = resolution, step, offer
        self.region = Region.whole(problem, fractions(problem.target))
        self.incumbent: Ints | None = None
        self.objective = objective
        self.vectors: list[Floats] = []
        self.rays: list[bool] = []
        self.root = _Grown(allowed_pairs(problem), -math.inf, 0, [])
        if prices is not None:
            self.root.hints.append(self._vector(prices.vector))
        self.order = count()
        self.waiting: list[tuple[float, int, _Grown]] = [(-math.inf, next(self.order), self.root)]
        self.nodes = 0
        self.relaxation: _Relaxation | None = None
        self.gains = np.zeros((2, problem.n_queries))
        self.seen = np.zeros((2, problem.n_queries))
        self.step = self._step()
        self.core: tuple[Region, Search] | None = None
        self.settled_at = math.inf  # the objective when the root was last looked at again

    # What is held

    def _step(self) -> float:
        """By how much a routing must be better to matter."""
        if not math.isfinite(self.objective):
            return 0.0
        least = self.given_step
        if least is None:
            least = least_step(self.problem, self.objective, self.resolution)
        asked = max(self.options.mip_abs_gap, self.options.mip_rel_gap * abs(self.objective))
        return max(least, asked)

    @property
    def cutoff(self) -> float:
        """What the proof will claim."""
        return self.objective - self.step

    @property
    def reach(self) -> float:
        """What nodes are closed at: a little above, so that rounding elsewhere is no matter."""
        return self.objective - 0.99 * self.step

    def take(self, routing: Ints) -> bool:
        """Hold a routing if it is the best so far and keeps every target."""
        if not self.problem.meets_target(routing):
            return False
        value = self.problem.value(routing)
        if self.incumbent is None and value <= self.objective:
            self.incumbent = routing
        if value < self.objective:
            self.incumbent, self.objective = routing, value
            self.step = self._step()
            if self.offer is not None:
                self.offer(routing)
        return True

    def beat(self, objective: float) -> None:
        """An objective to beat from now on, of a routing found elsewhere."""
        if objective < self.objective:
            self.incumbent, self.objective = None, objective
            self.step = self._step()

    # The search

    def go_on(self, clock: Clock, max_nodes: int = 1_000_000) -> BranchAnswer:
        """Grow the tree until it is closed, or the clock or the nodes run out, or Ctrl-C."""
        try:
            self._grow(clock, max_nodes)
        except KeyboardInterrupt:
            return self._answer(interrupted=True)
        return self._answer(interrupted=False)

    def _grow(self, clock: Clock, max_nodes: int) -> None:
        self.clock = clock
        here: _Grown | None = None
        while self.core is None and (here is not None or self.waiting):
            if here is None:
                here = heapq.heappop(self.waiting)[2]
            if clock.expired or self.nodes >= max_nodes:
                heapq.heappush(self.waiting, (here.bound, next(self.order), here))
                return
            children = self._visit(here)
            if self.objective < self.settled_at and self._narrow():
                break
            for child in children[1:]:
                heapq.heappush(self.waiting, (child.bound, next(self.order), child))
            here = children[0] if children else None
        if self.core is not None:
            region, search = self.core
            search.beat(self.objective - float(region.offset))
            search._grow(clock, max_nodes - self.nodes)

    def _narrow(self) -> bool:
        """Start over on the core, once what the root's prices leave open is that much less."""
        self.settled_at = self.objective
        region, pairs = self.region, allowed_pairs(self.problem)
        for v in self.root.vectors:
            _, left = region.apply(pairs, self.vectors[v], self.reach, ray=self.rays[v])
            if left is None:
                return False
            pairs = left
        counts = pairs.sum(axis=1)
        free = np.flatnonzero(counts > 1)
        left, before = counts[free].sum(), np.count_nonzero(allowed_pairs(self.problem))
        # A long search gives up its tree only for much faster nodes.
        enough = _SHRUNK if self.nodes < _YOUNG else _SHRUNK_MUCH
        if left > enough * before or pairs.shape[0] < _WORTH_NARROWING:
            return False
        region, pairs = region.without(pairs, free)
        search = Search(
            core_problem(region, pairs),
            prices=self.prices,
            objective=self.objective - float(region.offset),
            options=self.options,
            resolution=self.resolution,
            step=self.step,
            offer=partial(self._offered, region),
        )
        self.core, self.relaxation, self.waiting = (region, search), None, []
        self.root = _Grown(None, self.root.bound, 0, [], self.root.vectors)
        return True

    def _offered(self, region: Region, routing: Ints) -> None:
        self.take(region.routing(routing))

    def _visit(self, node: _Grown) -> list[_Grown]:
        """Relax a node and branch; its open children, the one to dive into first.

        The node itself where the time ran out first.
        """
        self.nodes += 1
        for hint in node.hints:
            self._apply(node, hint)
            if node.closed:
                return []
        if node.bound >= self.reach:
            node.closed = True
            return []
        if self.relaxation is None and self.problem.n_rows:
            self.relaxation = _Relaxation(self.problem)
        relaxed = self._relax(node)
        if node.closed or node.pairs is None:
            return []
        if relaxed is None and self.clock.expired:
            return [node]
        pairs = node.pairs
        if pairs.sum(axis=1).max() == 1:
            self._settle(node, pairs.argmax(axis=1))
            return []
        share = np.where(pairs, 1.0, 0.0)
        if relaxed is not None and relaxed.share is not None:
            share = np.where(pairs, relaxed.share, 0.0)
        if relaxed is not None and (self.nodes < _TRY_EVERY or self.nodes % _TRY_EVERY == 1):
            found = self._near_vertex(share)
            if not found and self.nodes % _ROUND_EVERY == 1:
                self._round(node, share)
            if node.bound >= self.reach:
                node.closed = True
                return []
        return self._split(node, share)

    def _relax(self, node: _Grown) -> "_Relaxed | None":
        """Solve the relaxation until it uses open pairs only; apply its duals."""
        assert node.pairs is not None
        if self.relaxation is None:
            zero = self._vector(np.zeros(self.problem.n_rows))
            self.take(np.where(node.pairs, self.problem.objective, np.inf).argmin(axis=1))
            self._apply(node, zero)
            return None
        relaxed: _Relaxed | None = None
        for _ in range(_SOLVES):
            assert node.pairs is not None
            relaxed = self.relaxation.solve(node.pairs, self.reach, self.clock)
            if relaxed is None:
                return None
            if relaxed.routing is not None:
                self.take(relaxed.routing)
            self._apply(node, self._vector(relaxed.vector, relaxed.ray))
            if node.closed:
                return relaxed
            if relaxed.share is None:
                if relaxed.ray:
                    return None  # a ray that rounding spoils: branch on
                self.relaxation.bounded = False
                continue
            if not bool((~node.pairs & (relaxed.share > _FRACTIONAL)).any()):
                break
        return relaxed if relaxed is not None and relaxed.share is not None else None

    def _settle(self, node: _Grown, routing: Ints) -> None:
        """One routing is left: take it, or prove that it breaks a limit."""
        k = self.problem.n_rows
        if self.take(routing):
            self._apply(node, self._vector(np.zeros(k)))
            return
        for row in np.flatnonzero(self.problem.excess(routing) > 0):
            self._apply(node, self._vector(np.eye(k)[row], True))
            if node.closed:
                return

    def _near_vertex(self, share: Floats) -> bool:
        """Try the ways to make a vertex whole: it splits few queries (at most ``K``)."""
        problem = self.problem
        routed = share.argmax(axis=1)
        split = np.flatnonzero(share.max(axis=1) < 1 - _FRACTIONAL)
        split = split[np.argsort(share[split].max(axis=1), kind="stable")]
        counts = (share[split] > _FRACTIONAL).sum(axis=1)
        most = max(1, min(_MOST_VERTICES, 1_000_000 // (problem.n_rows + 1)))
        split = split[np.cumprod(counts.astype(float)) <= most]
        rest = np.setdiff1d(np.arange(problem.n_queries), split)
        use = use_of(problem, routed, rest)[None, :]
        cost = np.zeros(1)
        models = np.empty((1, 0), np.intp)
        for query in split:
            mine = np.flatnonzero(share[query] > _FRACTIONAL)
            there = np.full(mine.size, query)
            taken = np.zeros((mine.size, problem.n_rows))
            first = 0
            for rows in problem.rows:
                pool = entries(rows.pool, there, mine)
                inside = np.flatnonzero(pool >= 0)
                taken[inside, first + pool[inside]] = rows.taken(there, mine)[inside]
                first += rows.n_pools
            cost = (cost[:, None] + problem.objective[query, mine]).ravel()
            use = (use[:, None, :] + taken).reshape(cost.size, -1)
            models = np.column_stack(
                [np.repeat(models, mine.size, axis=0), np.tile(mine, models.shape[0])]
            )
        room = problem.target + 1e-9 * np.abs(problem.target)
        fits = np.flatnonzero((use <= room).all(axis=1))
        for k in fits[np.argsort(cost[fits], kind="stable")][:3]:
            routed[split] = models[k]
            if self.take(routed.copy()):
                self.take(improve(problem, routed, self.clock))
                return True
        return False

    def _round(self, node: _Grown, share: Floats) -> None:
        last = next((v for v in reversed(node.vectors) if not self.rays[v]), None)
        vector = np.zeros(self.problem.n_rows) if last is None else self.vectors[last]
        prices = Prices.of(self.problem, vector)
        routed = repair(self.problem, share.argmax(axis=1), prices, self.clock)
        if routed is not None:
            self.take(improve(self.problem, routed, self.clock))

    def _vector(self, vector: Floats, ray: bool = False) -> int:
        """Record a vector, rounded to a few digits; its number."""
        self.vectors.append(vector)
        self.rays.append(ray)
        return len(self.vectors) - 1

    def _apply(self, node: _Grown, v: int) -> None:
        assert node.pairs is not None
        before = int(np.count_nonzero(node.pairs))
        bound, left = self.region.apply(node.pairs, self.vectors[v], self.reach, ray=self.rays[v])
        if left is None:
            node.vectors.append(v)
            node.bound = max(node.bound, bound)
            node.pairs, node.closed = None, True
            return
        if bound > node.bound or int(np.count_nonzero(left)) < before:
            node.vectors.append(v)
            node.bound = max(node.bound, bound)
            node.pairs = left

    # Branching

    def _split(self, node: _Grown, share: Floats) -> list[_Grown]:
        """Branch on one query: its model of largest share against the others."""
        assert node.pairs is not None
        most = share.max(axis=1)
        counts = node.pairs.sum(axis=1)
        split = np.flatnonzero((counts > 1) & (most < 1 - _FRACTIONAL))
        if split.size == 0 or self.relaxation is None:
            query = int(counts.argmax())
            hints: _Hints = ([], [])
        else:
            query, hints = self._chosen(node, share, split)
        model = int(np.where(node.pairs[query], share[query], -1.0).argmax())
        others = np.flatnonzero(node.pairs[query])
        others = others[others != model]
        parts = ((model,), tuple(others.tolist()))
        children = []
        for k, part in enumerate(parts):
            pairs = node.pairs.copy()
            pairs[query] = False
            pairs[query, list(part)] = True
            inherited = node.vectors[-1:]
            children.append(_Grown(pairs, node.bound, node.depth + 1, [*inherited, *hints[k]]))
        node.split = (query, parts, tuple(children))
        node.pairs = None
        return children

    def _chosen(self, node: _Grown, share: Floats, split: Ints) -> tuple[int, _Hints]:
        """The query whose two children promise the largest gains, and vectors tried on them."""
        assert self.relaxation is not None
        most = share[split].max(axis=1)
        mean = [self.gains[side].sum() / max(self.seen[side].sum(), 1.0) or 1.0 for side in (0, 1)]
        known = [
            np.where(
                self.seen[side, split] > 0,
                self.gains[side, split] / np.maximum(self.seen[side, split], 1.0),
                mean[side],
            )
            for side in (0, 1)
        ]
        guess = [known[0] * (1 - most), known[1] * most]
        room = max(self.reach - node.bound, 1e-300)
        score = _score(guess[0], guess[1], room)
        best, best_score = int(split[score.argmax()]), -1.0
        best_hints: _Hints = ([], [])
        hints: _Hints
        probed = 0
        for k in np.argsort(-score, kind="stable"):
            query = int(split[k])
            if min(self.seen[0, query], self.seen[1, query]) >= _RELIABLE:
                value, hints = float(score[k]), ([], [])
            elif probed < _CANDIDATES and not self.clock.expired:
                probed += 1
                gain, hints = self._probe(node, share, query)
                value = float(_score(np.array([gain[0]]), np.array([gain[1]]), room)[0])
            else:
                continue
            if value > best_score:
                best, best_score, best_hints = query, value, hints
        return best, best_hints

    def _probe(self, node: _Grown, share: Floats, query: int) -> tuple[tuple[float, float], _Hints]:
        """A few steps of the simplex on both children of a query: gains, and the prices."""
        assert self.relaxation is not None
        assert node.pairs is not None
        model = int(share[query].argmax())
        gains: list[float] = []
        hints: _Hints = ([], [])
        for side in (0, 1):
            pairs = node.pairs.copy()
            pairs[query] = (
                (np.arange(pairs.shape[1]) == model) & pairs[query]
                if side == 0
                else ((np.arange(pairs.shape[1]) != model) & pairs[query])
            )
            relaxed = self.relaxation.solve(
                pairs, self.reach, self.clock, iterations=_PROBE_ITERATIONS
            )
            gain = 0.0
            if relaxed is not None and relaxed.ray and self.reach == math.inf:
                hints[side].append(self._vector(relaxed.vector, relaxed.ray))
            elif relaxed is not None:
                bound, left = self.region.apply(pairs, relaxed.vector, self.reach, ray=relaxed.ray)
                if left is None:
                    bound = max(bound, self.reach)
                gain = 0.0
                if math.isfinite(node.bound):
                    gain = min(max(bound, node.bound), self.reach) - node.bound
                if gain > 0:
                    hints[side].append(self._vector(relaxed.vector, relaxed.ray))
            part = max(1 - share[query, model] if side == 0 else share[query, model], 1e-6)
            self.gains[side, query] += gain / part
            self.seen[side, query] += 1
            gains.append(gain)
        return (gains[0], gains[1]), hints

    # The answer

    def _answer(self, *, interrupted: bool) -> BranchAnswer:
        number: dict[int, int] = {}  # of the vectors, many of which were only tried
        nodes = [
            replace(node, vectors=tuple(number.setdefault(v, len(number)) for v in node.vectors))
            for node in self._preorder()
        ]
        vectors = [self.vectors[v] for v in number]
        proof = Proof(
            cutoff=self.cutoff,
            vectors=np.array(vectors, np.float64).reshape(len(vectors), self.problem.n_rows),
            rays=np.array([self.rays[v] for v in number], bool),
            nodes=tuple(nodes),
            resolution=self.resolution,
        )
        limits = fractions(self.problem.target)
        relaxed = self.nodes
        if self.core is None:
            least = min((leaf.bound for leaf in self._open()), default=math.inf)
            complete = least == math.inf
        else:
            region, search = self.core
            core = search._answer(interrupted=interrupted)
            proof, complete = lift(core.proof, region.queries, proof), core.complete
            relaxed += core.nodes
            least = core.bound
            if math.isfinite(least):
                least = rounded_down(Fraction(least) + region.offset)
        if complete:
            proof, checked = trimmed(self.problem, proof, limits)
            bound, complete = checked.bound, not checked.short
        else:
            bound = implied_bound(min(least, self.cutoff), self.resolution, self.problem)
        return BranchAnswer(self.incumbent, bound, proof, relaxed, complete, interrupted)

    def _preorder(self) -> Iterator[Node]:
        stack = [self.root]
        while stack:
            node = stack.pop()
            if node.split is None:
                yield Node(tuple(node.vectors))
            else:
                query, parts, children = node.split
                yield Node(tuple(node.vectors), query, parts)
                stack += reversed(children)

    def _open(self) -> Iterator[_Grown]:
        """Leaves that a routing below the cutoff might still be in."""
        stack = [self.root]
        while stack:
            node = stack.pop()
            if node.split is not None:
                stack += node.split[2]
            elif not node.closed and node.bound < self.cutoff:
                yield node


def _score(one: Floats, other: Floats, room: float) -> Floats:
    """The product of two gains, none counted beyond what closes the node."""
    if room == math.inf:  # nothing closes a node before there is a routing
        room = max(float(one.max(initial=1.0)), float(other.max(initial=1.0)))
    least = 1e-6 * room
    score: Floats = np.clip(one, least, room) * np.clip(other, least, room) / room**2
    return score


# The relaxation -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Relaxed:
    """One relaxation: its duals, or a ray; shares, if solved; the routing, if they are whole."""

    vector: Floats
    ray: bool
    share: Floats | None
    routing: Ints | None


class _Relaxation:
    """One HiGHS model for all nodes; a node sets the upper bounds of its columns."""

    def __init__(self, problem: RoutingProblem) -> None:
        self._problem = problem
        self._form: LinearForm = linear_form(problem)
        form = self._form
        lp = QuietHighs()
        for name, value in (
            ("presolve", "off"),
            ("solver", "simplex"),
            ("primal_feasibility_tolerance", 1e-9),
            ("dual_feasibility_tolerance", 1e-9),
        ):
            lp.setOptionValue(name, value)
        lp.resetGlobalScheduler(True)
        lp.setOptionValue("threads", 1)
        columns = form.n_columns
        lp.passModel(
            columns,
            form.matrix.shape[0],
            form.matrix.nnz,
            int(highspy.MatrixFormat.kRowwise),
            int(highspy.ObjSense.kMinimize),
            0.0,
            form.cost,
            np.zeros(columns),
            np.ones(columns),
            form.lower,
            form.upper,
            form.matrix.indptr.astype(np.int32),
            form.matrix.indices.astype(np.int32),
            form.matrix.data,
            np.zeros(columns, np.int32),
        )
        self._lp = lp
        self._upper = np.ones(columns)
        self.bounded = True

    def solve(
        self, pairs: Bools, reach: float, clock: Clock, iterations: int | None = None
    ) -> _Relaxed | None:
        """The relaxation over some pairs; None if HiGHS gives nothing to go by."""
        form, lp = self._form, self._lp
        upper = pairs[form.query, form.model].astype(np.float64)
        changed = np.flatnonzero(upper != self._upper).astype(np.int32)
        if changed.size:
            lp.changeColsBounds(changed.size, changed, np.zeros(changed.size), upper[changed])
            self._upper = upper
        limit = reach * form.cost_scale
        slack = 1e-6 * max(1.0, abs(limit))
        bounded = self.bounded and math.isfinite(limit)
        lp.setOptionValue("objective_bound", limit + slack if bounded else math.inf)
        self.bounded = True
        most = 2**31 - 1 if iterations is None else iterations
        lp.setOptionValue("simplex_iteration_limit", most)
        if math.isfinite(clock.left):
            lp.setOptionValue("time_limit", lp.getRunTime() + max(clock.left, 0.01))
        lp.run()
        status = lp.getModelStatus()
        if status == _STATUS.kInfeasible:
            return self._ray()
        solution = lp.getSolution()
        if not solution.dual_valid or status not in (
            _STATUS.kOptimal,
            _STATUS.kObjectiveBound,
            _STATUS.kIterationLimit,
        ):
            return None
        vector = _short(form.prices(self._problem, np.asarray(solution.row_dual)).vector)
        if not np.isfinite(vector).all():
            return None
        if status != _STATUS.kOptimal:
            return _Relaxed(vector, False, None, None)
        x = np.asarray(solution.col_value)
        share = np.zeros(pairs.shape)
        share[form.query, form.model] = x
        whole = bool((share.max(axis=1) > 1 - _FRACTIONAL).all())
        return _Relaxed(vector, False, share, share.argmax(axis=1) if whole else None)

    def _ray(self) -> _Relaxed | None:
        _, exists, ray = self._lp.getDualRay()
        if not exists:
            return None
        weights = self._form.prices(self._problem, np.asarray(ray)).normalized().vector
        if not (np.isfinite(weights).all() and weights.any()):
            return None
        return _Relaxed(_short(weights), True, None, None)


def _short(vector: Floats) -> Floats:
    """Numbers of a few digits near these."""
    return np.array([float(f"{value:.{_DIGITS}g}") for value in vector.tolist()])
