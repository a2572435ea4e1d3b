"""The native solver: Lagrangian dual decomposition, from cold prices to a routing with a bound.

`ascent` climbs the smoothed dual on samples, `focus` leaves only the queries that good prices do
not settle, `polish` takes the prices to the optimum of the linear relaxation, rounding turns that
into a routing that keeps every limit, and `settle` searches the few queries that could still be
routed better, or proves that they could not.
"""

import math
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from dualroute.arrays import Floats, Ints
from dualroute.engines.local import LocalEngine
from dualroute.errors import OptionError
from dualroute.lattice import find_steps, tightened
from dualroute.problem import RoutingProblem
from dualroute.rounding import improve
from dualroute.solver import Clock, Solution, SolveOptions, Termination, attempted
from dualroute.solvers.lagrangian.ascent import Box
from dualroute.solvers.lagrangian.focus import (
    LARGE,
    Focus,
    counted,
    focus,
    moved_box,
    whole_focus,
    wider,
)
from dualroute.solvers.lagrangian.held import Held
from dualroute.solvers.lagrangian.polish import Polished
from dualroute.solvers.lagrangian.samples import ascend_samples, trust
from dualroute.solvers.lagrangian.settle import settle

# Scaled prices: the part of a typical total that a limit is worth.
_ORDINARY_PRICE = 1e2
_LARGEST_PRICE = 1e4
_RECOUNTS = 4
_MANY_ROWS = 32
_FEW_DIVIDED = 4  # queries per row: about one is divided where nothing is tied
_LONG = 20_000  # queries of a table that is not searched for lattices as a whole


@dataclass(frozen=True, slots=True)
class Lagrangian:
    """Native Lagrangian dual decomposition: exact dual, certified gap, priced branch and bound.

    Attributes
    ----------
    core_pairs
        Largest core to search by branch and bound for a proof; 0 ends the search with rounding.
    core_time_limit
        Seconds for all that follows rounding.
    compiled
        Whether passes over the table are compiled; None for where one solve repays loading
        numba. (Sums differ by rounding, some 1e-16.)
    relax
        Whether to end at the optimum of the linear relaxation: prices, a bound or a ray, and no
        routing.
    lattices
        Whether limits are tightened to what whole multiples of usage can reach; without, the
        relaxation is that of the limits as stated.
    """

    warm_up_queries: ClassVar[int] = 15_000  # a table of so many has all passes compiled

    core_pairs: int = 50_000
    core_time_limit: float = 30.0
    compiled: bool | None = None
    relax: bool = False
    lattices: bool = True

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.core_pairs < 0 or not self.core_time_limit > 0:
            raise OptionError("core_pairs is at least 0 and core_time_limit above 0")

    def solve(self, problem: RoutingProblem, options: SolveOptions) -> Solution:
        """Search within the options; on Ctrl-C, what was found so far."""
        with _few_threads(problem.n_rows, options.threads):
            return replace(attempted(self._solve, problem, options), solver="lagrangian")

    def _solve(self, problem: RoutingProblem, options: SolveOptions) -> Solution:
        # In a long table only usage that is the same for all queries is searched for lattices,
        # until all of it might be what a gap is left for.
        long = problem.n_queries >= _LONG
        steps: Floats = np.zeros(problem.n_rows)
        if self.lattices:
            steps = find_steps(problem, 1 if long else math.inf)
        held = _held(problem, steps, options, Clock(options.time_limit))
        try:
            if self.relax:
                relaxed = _relaxed(held, self.compiled)
                return held.solution(Termination.COMPLETED if relaxed else Termination.INFEASIBLE)
            place = _approach(held, self.compiled)
            if (
                long
                and self.lattices
                and place is not None
                and not held.closed
                and not held.clock.expired
            ):
                closer = _on_lattices(held)
                if closer is not None:
                    held = closer
                    place = _approach(held, self.compiled)
            termination = Termination.INFEASIBLE if place is None else self._finish(held, place)
        except KeyboardInterrupt:
            termination = Termination.INTERRUPTED
        return held.solution(termination)

    def _finish(self, held: Held, place: Focus) -> Termination:
        """Search and prove what is left open; why it ended."""
        clock = held.clock
        if self.core_pairs and not held.closed and not clock.expired:
            settle(held, place, self.core_pairs, min(clock.left, self.core_time_limit))
        if held.incumbent is not None and (held.closed or held.claimed >= held.objective):
            return held.gap_reached
        if held.best_bound == math.inf:
            return Termination.INFEASIBLE
        if clock.expired:
            return Termination.TIME_LIMIT
        if held.incumbent is None and held.find_ray():
            return Termination.INFEASIBLE
        return Termination.COMPLETED


def _few_threads(n_rows: int, threads: int) -> AbstractContextManager[object]:
    """Linear algebra on as many threads as were asked for: more would get in their way."""
    if n_rows < _MANY_ROWS:
        return nullcontext()  # too small for BLAS to share out
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[object] = threadpool_limits(threads, user_api="blas")
    return limits


def _held(problem: RoutingProblem, steps: Floats, options: SolveOptions, clock: Clock) -> Held:
    """A search of the problem with the limits that lattices imply: less is left, nothing lost."""
    on_lattice = problem.limit / np.where(steps > 0, steps, 1.0)
    tighter = (steps > 0) & (on_lattice != np.rint(on_lattice))
    tight = tightened(problem, steps) if tighter.any() else problem
    return Held(tight, problem, steps, options, clock)


def _on_lattices(held: Held) -> Held | None:
    """The same search where lattices of all usage are looked for; None if they imply no more."""
    with held.timed("lattices"):
        steps = find_steps(held.stated)
        options = replace(held.options, start=None, prices=held.prices)
        closer = _held(held.stated, steps, options, held.clock)
    if not (closer.problem.limit < held.problem.limit).any():
        return None
    # What bounds the looser limits bounds these; a routing keeps the ones if it keeps the others.
    closer.bound, closer.prices = held.bound, held.prices
    closer.incumbent, closer.objective = held.incumbent, held.objective
    closer.passes, closer.phases = held.passes, held.phases
    return closer


def _relaxed(held: Held, compiled: bool | None) -> bool:
    """From nothing to the relaxation's optimum; whether it has one."""
    engine = LocalEngine(held.problem, held.options.threads, compiled)
    place = _climb(held, whole_focus(engine, np.zeros(held.problem.n_rows)))
    if held.problem.n_rows:
        _polish(held, place)
    return held.ray is None


def _approach(held: Held, compiled: bool | None) -> Focus | None:
    """From nothing to the relaxation's optimum and a routing near it; None if there is none."""
    problem, options, clock = held.problem, held.options, held.clock
    engine = LocalEngine(problem, options.threads, compiled)
    if engine.sweeper.compiled and "dualroute.kernels" not in sys.modules:
        held.report("loading compiled passes (the first use compiles them)")
    everything = whole_focus(engine, np.zeros(problem.n_rows))
    start = options.checked_start(problem)
    if start is not None and problem.meets_target(start):
        held.offer(everything, start, "start")
        if problem.n_queries < LARGE:  # a longer table is rounded to something better sooner
            held.offer(everything, improve(problem, start, clock), "start")
    place = _climb(held, everything)
    if place.part is not None and options.mip_rel_gap + options.mip_abs_gap > 0:
        held.round(place, held.cheapest(place))
    if problem.n_rows and not held.closed:
        place, votes = _polish(held, place)
        if held.ray is not None:
            return None
        held.round(place, votes)
    tied = place.part is None and place.engine.problem.n_queries >= LARGE
    if not held.closed and not (tied and held.incumbent is not None):
        held.round(place, held.cheapest(place))
    return place


def _climb(held: Held, everything: Focus) -> Focus:
    """From prices of zero to nearly the best, and to the place where the rest happens."""
    engine = everything.engine
    if engine.problem.n_queries < LARGE or not held.problem.n_rows:
        held.told("ascent")(everything.prices, held.free_bound(engine))
    if not held.problem.n_rows:
        return everything
    clock = replace(held.clock, time_limit=0.5 * held.clock.time_limit)
    given = held.options.checked_prices(held.stated)
    with held.timed("samples"):
        start = everything.scaled if given is None else engine.scaled(given)
        climb = ascend_samples if given is None else trust
        sampled = climb(engine, start, seed=held.options.seed, clock=clock)
    with held.timed("ascent"):
        place = focus(engine, sampled, clock=clock, told=held.told("ascent"))
    held.passes += sampled.passes + place.passes
    return place


def _polish(held: Held, place: Focus) -> tuple[Focus, Ints]:
    """The place at the optimum of the linear relaxation, and the routing its mix votes for."""
    few = _FEW_DIVIDED * held.problem.n_rows
    with held.timed("polish"):
        for _ in range(_RECOUNTS):
            if place.types is None:
                break
            polished, inside = _polish_in_box(held, place, 0.05)
            everything = held.everything(place)
            if inside:
                return everything, place.types.spread(polished.mix.every_share())
            place = counted(everything, wider(place.at(polished.scaled), everything.engine))
        for _ in range(_RECOUNTS):
            if place.part is None:
                break
            polished, inside = _polish_in_box(held, place, 0.015)
            place = place.at(polished.scaled)
            if inside or polished.late:
                return place, polished.mix.votes(few)
            moved = moved_box(held.everything(place), place)
            place = moved or held.everything(place)
        place = held.everything(place)
        k = held.problem.n_rows
        polished = held.polish(place, Box.up_to(_ORDINARY_PRICE, k), place.unsure)
        solved = polished.exact and (polished.scaled < _ORDINARY_PRICE).all()
        # Prices that run away: the limits contradict each other, or nearly so.
        if not (solved or polished.late or held.find_ray()):
            polished = held.polish(place, Box.up_to(_LARGEST_PRICE, k), 0.03)
        return place.at(polished.scaled), polished.mix.votes(few)


def _polish_in_box(held: Held, place: Focus, radius: float) -> tuple[Polished, bool]:
    """Polish in a place's box, from a radius relative to it; whether the optimum is inside."""
    box = place.box
    polished = held.polish(place, box, radius * float((box.high - box.low).max()))
    edge = box.edge(polished.scaled, np.zeros_like(polished.scaled))
    return polished, polished.exact and not bool(edge.any())
