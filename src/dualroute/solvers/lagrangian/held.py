"""What the native solver holds at any moment, so that an interruption loses nothing."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from dualroute.arrays import Floats, Ints
from dualroute.engines.local import LocalEngine
from dualroute.exchange import Exchange
from dualroute.lattice import least_step
from dualroute.problem import Prices, RoutingProblem
from dualroute.proof import Proof, rooted
from dualroute.rounding import improve, repair
from dualroute.solver import Clock, Progress, Solution, SolveOptions, Status, Termination
from dualroute.solvers.lagrangian.ascent import Box
from dualroute.solvers.lagrangian.focus import Focus, Told, narrowed, whole_focus
from dualroute.solvers.lagrangian.polish import Polished, polish

_EXACT = 1e-12
OPTIMAL = 1e-9
_TURNS, _FRUITLESS = 6, 2  # of a short local search: at most, and in vain
_EXCHANGES = 2  # calls of its kernel in a turn
_ROWS_A_CALL = 4
_ROUNDED = 4_000  # queries that are enough to round with, where there are many more


@dataclass(slots=True, eq=False)
class Held:
    """Bound, prices and routing held, and the steps that better them.

    Attributes
    ----------
    problem
        With the limits that lattices of usage imply.
    stated
        With the limits as stated.
    steps
        Those lattices, shape ``(K,)``; 0 where there is none.
    options, clock
        Of this solve.
    incumbent
        A place and a routing of its free queries that keeps every limit; None before there is
        one.
    objective, bound, proved, claimed
        Of the incumbent; the best Lagrangian seen; what `proof` proves; a bound on HiGHS's word.
    proof
        A tree of prices.
    prices
        Where the best Lagrangian was seen.
    ray
        Weights that prove the limits contradictory, once found.
    passes
        Whole-table passes spent.
    phases
        Seconds spent in each phase.
    """

    problem: RoutingProblem
    stated: RoutingProblem
    steps: Floats
    options: SolveOptions
    clock: Clock
    incumbent: tuple[Focus, Ints] | None = None
    objective: float = math.inf
    bound: float = -math.inf
    proved: float = -math.inf
    claimed: float = -math.inf
    proof: Proof | None = None
    passes: float = 0.0
    ray: Prices | None = None
    phases: dict[str, float] = field(default_factory=dict)
    prices: Prices = field(init=False)

    def __post_init__(self) -> None:
        self.prices = Prices.of(self.problem, np.zeros(self.problem.n_rows))

    @property
    def best_bound(self) -> float:
        """The best of what the prices bound, what is proved, and what HiGHS claims."""
        return max(self.bound, self.proved, self.claimed)

    @property
    def gap(self) -> float:
        """Objective less the Lagrangian bound; infinite without a routing."""
        return self.objective - self.bound

    @property
    def _optimal(self) -> bool:
        return self.objective - self.best_bound <= OPTIMAL * abs(self.objective)

    @property
    def closed(self) -> bool:
        """Whether the gap asked for is reached, by bounds that can be certified."""
        if self.incumbent is None:
            return False
        bound = max(self.bound, self.proved)
        near = self.objective - bound <= OPTIMAL * abs(self.objective)
        return near or self.options.closed(self.objective, bound)

    @property
    def engine(self) -> LocalEngine:
        """An engine over all queries."""
        return LocalEngine(self.problem, self.options.threads)

    @property
    def gap_reached(self) -> Termination:
        """Why a closed search ends."""
        return Termination.OPTIMAL if self._optimal else Termination.GAP

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Count the seconds of a phase."""
        started = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - started
            self.phases[phase] = self.phases.get(phase, 0.0) + spent

    def told(self, phase: str) -> Told:
        """Something to call with prices and a bound of the whole problem."""

        def told(prices: Prices, bound: float) -> None:
            if bound > self.bound:
                self.bound, self.prices = bound, prices
                self.report(phase)

        return told

    def everything(self, place: Focus) -> Focus:
        """The whole problem at the prices held, whatever the place."""
        if place.part is None and place.types is None:
            return place
        engine = LocalEngine(self.problem, self.options.threads, place.engine.sweeper.compiled)
        return whole_focus(engine, engine.scaled(self.prices), place.passes)

    def free_bound(self, engine: LocalEngine) -> float:
        """The bound at prices of zero: every query on its best model, one pass."""
        self.passes += 1
        zero = Prices.of(self.problem, np.zeros(self.problem.n_rows))
        return sum(engine.sweeper.sweep(zero, lambda chunk: chunk.value))

    def polish(self, place: Focus, box: Box, radius: float) -> Polished:
        """Take a place's prices to the relaxation's optimum in a box."""
        engine = place.engine
        # Where prices are kept in a box, contradictory limits cannot make them run away.
        free = place.part is None and place.types is None
        ceiling = _worst(self.problem) if free else math.inf
        polished = polish(
            engine,
            place.scaled,
            ceiling=ceiling * engine.value_scale,
            relative=_EXACT,
            clock=replace(self.clock, time_limit=0.7 * self.clock.time_limit),
            box=box,
            radius=radius,
            tell=place.tell(self.told("polish")),
            around=place.around,
        )
        self.passes += polished.passes * engine.problem.n_queries / self.problem.n_queries
        return polished

    def cheapest(self, place: Focus) -> Ints:
        """Each free query on its cheapest model at the place's prices."""
        chunks = place.engine.sweeper.sweep(place.prices, lambda chunk: chunk.chosen)
        return np.concatenate(chunks).astype(np.intp)

    def offer(self, place: Focus, routing: Ints, phase: str) -> None:
        """Take a routing that keeps every limit, if it is better."""
        value = place.engine.problem.value(routing) + place.settled_cost
        if value < self.objective:
            self.incumbent, self.objective = (place, routing), value
            self.report(phase)

    def prove(self, proof: Proof, bound: float) -> None:
        """Keep a tree that proves a bound, if it is the best."""
        if bound > self.proved:
            self.proof, self.proved = proof, bound
            self.report("proof")

    def claim(self, bound: float) -> None:
        """A bound on HiGHS's word; infinite where it finds no routing at all."""
        self.claimed = min(bound, self.objective)

    def round(self, place: Focus, wish: Ints) -> None:
        """Mend a routing of a place's free queries so that it keeps every limit; improve it."""
        with self.timed("rounding"):
            # The fewest queries that will do; all of a long table only where nothing else does.
            n = place.engine.problem.n_queries
            for size in (_ROUNDED, 10 * _ROUNDED, n):
                if self.closed or (size == n and self.incumbent is not None):
                    break
                if place.part is None and n <= 5 * size:
                    size = n
                near = narrowed(place, wish, size, self.options.seed)
                own = wish if near is place else place.whole(wish)[near.queries]
                problem = near.engine.problem
                routed = repair(problem, own, self.prices, self.clock)
                if routed is not None:
                    self.offer(near, routed, "rounding")
                    if self.closed:
                        break
                    routed = improve(problem, routed, self.clock)
                    self.offer(near, routed, "rounding")
                if near.engine.sweeper.compiled and problem.n_queries <= 2 * _ROUNDED:
                    self._exchange(near, own if routed is None else routed)
                if near is place:
                    break

    def _exchange(self, near: Focus, start: Ints) -> None:
        """A short local search, for what no single move mends: swaps, and chains of moves."""
        if self.closed or self.clock.expired:
            return
        search = Exchange(near.engine.problem, self.prices, start, self.options.seed)
        # Each limit has to be looked at.
        calls = max(_EXCHANGES, self.problem.n_rows // _ROWS_A_CALL)
        fruitless = 0
        for _ in range(_TURNS):
            if fruitless == _FRUITLESS or self.closed or self.clock.expired:
                break
            fruitless += 1
            if search.advance(self.clock, calls) and search.best is not None:
                self.offer(near, search.best, "rounding")
                fruitless = 0

    def core(self, place: Focus) -> Focus:
        """Where every pair of a better routing is among the free queries.

        That is the place itself where its margin covers the gap or it is small; otherwise one
        more pass over the whole finds the queries.
        """
        if place.engine.problem.n_queries <= 5 * _ROUNDED and place.margin > self.gap:
            return place
        if not math.isfinite(self.gap):
            return place
        engine = self.everything(place).engine
        scaled = engine.scaled(self.prices)
        reach = self.gap + 1e-12 * abs(self.objective)
        part = engine.part(scaled, np.zeros_like(scaled), reach)
        if part.free.size == 0:
            return place
        inner = engine.over(part.problem)
        at = inner.scaled(self.prices)
        return Focus(inner, part, at, Box(at, at), reach, place.passes)

    def routing_at(self, place: Focus) -> Ints | None:
        """The incumbent as a routing of a place's free queries, if it has one there."""
        whole = self.whole
        if whole is None:
            return None
        if place.part is None:
            return whole
        settled = np.ones(whole.size, bool)
        settled[place.part.free] = False
        same = (whole == place.part.settled)[settled].all()
        return whole[place.part.free] if same else None

    @property
    def whole(self) -> Ints | None:
        """The incumbent as a routing of all queries, shape ``(n,)``."""
        if self.incumbent is None:
            return None
        place, routing = self.incumbent
        return place.whole(routing)

    def find_ray(self) -> bool:
        """Look for weights that prove the limits contradictory: the dual with no objective."""
        engine = LocalEngine(self.stated.without_objective(), self.options.threads)
        k = self.problem.n_rows
        found = polish(
            engine,
            np.zeros(k),
            ceiling=math.inf,
            relative=_EXACT,
            clock=self.clock,
            box=Box.up_to(1.0, k),
            radius=1.0,
        )
        self.passes += found.passes
        if found.value > 1e-12:
            self.ray = engine.prices(found.scaled).normalized()
        return self.ray is not None

    def report(self, phase: str) -> None:
        """Tell whoever listens where the search stands."""
        if self.options.progress is not None:
            self.options.progress(
                Progress(phase, self.objective, self.best_bound, self.clock.seconds)
            )

    def _tree_of_prices(self) -> Proof | None:
        """The proof held, or the one that tight limits need: prices prove less for the stated."""
        lost = float(self.prices.vector @ (self.stated.limit - self.problem.limit))
        bound = self.bound - max(lost, 0.0)
        if self.incumbent is None or self.proved >= self.bound or lost <= 0:
            return self.proof
        if self.objective - bound <= OPTIMAL * abs(self.objective):
            return self.proof
        cutoff = self.objective - least_step(self.problem, self.objective)
        return rooted([self.prices], cutoff=cutoff, steps=self.steps)

    def solution(self, termination: Termination) -> Solution:
        """What is claimed."""
        if termination is Termination.INFEASIBLE:
            status = Status.INFEASIBLE
        elif self.incumbent is None:
            status = Status.UNKNOWN
        else:
            status = Status.OPTIMAL if self._optimal else Status.FEASIBLE
        infeasible = status is Status.INFEASIBLE
        return Solution(
            status=status,
            termination=termination,
            assignment=None if infeasible else self.whole,
            prices=self.prices,
            ray=self.ray,
            proof=self._tree_of_prices(),
            best_bound=math.inf if infeasible else min(self.best_bound, self.objective),
            solver="lagrangian",
            seconds=self.clock.seconds,
            iterations=math.ceil(self.passes),
            phases=dict(self.phases),
        )


def _worst(problem: RoutingProblem) -> float:
    """What no routing can exceed: every query on its dearest allowed model."""
    total = 0.0
    for block in problem.blocks():
        part = problem.objective[block]
        total += float(np.where(np.isfinite(part), part, -np.inf).max(axis=1).sum())
    return total + 1e-9 * abs(total)
