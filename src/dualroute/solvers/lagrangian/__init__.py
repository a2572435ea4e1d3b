"""The native solver: Lagrangian dual decomposition, from cold prices to a routing with a bound.

`ascent` climbs the smoothed dual, `polish` takes it to the optimum of the linear relaxation,
rounding turns that into a routing that keeps every limit, and `core` settles the few queries
that could still be routed better.
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np

from dualroute.arrays import Floats, Ints
from dualroute.engines.local import LocalEngine
from dualroute.errors import OptionError
from dualroute.problem import Prices, RoutingProblem, lagrangian
from dualroute.rounding import improve, repair
from dualroute.solver import (
    Clock,
    Progress,
    Solution,
    SolveOptions,
    Status,
    Termination,
    attempted,
)
from dualroute.solvers.lagrangian.ascent import Tell, ascend
from dualroute.solvers.lagrangian.core import search_core
from dualroute.solvers.lagrangian.polish import Box, Polished, polish

_EXACT = 1e-12
# Scaled prices: the part of a typical total that a limit is worth.
_ORDINARY_PRICE = 1e2
_LARGEST_PRICE = 1e4
_OPTIMAL = 1e-9
_CORE_SIZES = (1_000, 4_000, 16_000)


@dataclass(frozen=True, slots=True)
class Lagrangian:
    """Native Lagrangian dual decomposition: exact dual, certified gap, small exact core.

    Attributes
    ----------
    core_pairs
        Largest program handed to HiGHS to settle what the dual leaves open; 0 for none.
    core_time_limit
        Seconds for that.
    """

    core_pairs: int = 50_000
    core_time_limit: float = 30.0

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.core_pairs < 0 or not self.core_time_limit > 0:
            raise OptionError("core_pairs is at least 0 and core_time_limit above 0")

    def solve(self, problem: RoutingProblem, options: SolveOptions) -> Solution:
        """Search within the options; on Ctrl-C, what was found so far."""
        return replace(attempted(self._solve, problem, options), solver="lagrangian")

    def _solve(self, problem: RoutingProblem, options: SolveOptions) -> Solution:
        search = _Search(problem, options, Clock(options.time_limit))
        try:
            termination = self._run(search)
        except KeyboardInterrupt:
            termination = Termination.INTERRUPTED
        return search.solution(termination)

    def _run(self, search: "_Search") -> Termination:
        problem, options, clock = search.problem, search.options, search.clock
        start = options.checked_start(problem)
        if start is not None and problem.meets_target(start):
            search.offer(start, "start")
            search.offer(improve(problem, start, clock), "start")
        engine = LocalEngine(problem)
        votes = search.ascend(engine)
        if problem.n_rows:
            polished = search.polish(engine, _ORDINARY_PRICE)
            if not (polished.exact or polished.late):
                # Prices that run away: the limits contradict each other, or nearly so.
                if search.find_ray():
                    return Termination.INFEASIBLE
                polished = search.polish(engine, _LARGEST_PRICE)
            votes = polished.votes
        for wish in (votes, search.cheapest()):
            if not search.closed:
                search.round(wish)
        if search.closed:
            return search.gap_reached()
        self._settle(search, engine, votes)
        if search.closed:
            return search.gap_reached()
        if clock.expired:
            return Termination.TIME_LIMIT
        if search.incumbent is None and (search.find_ray() or search.claimed == math.inf):
            return Termination.INFEASIBLE
        return Termination.COMPLETED

    def _settle(self, search: "_Search", engine: LocalEngine, votes: Ints) -> None:
        """Hand cores to HiGHS, small ones first: each shrinks the gap, and so the next.

        A core that holds every pair of a better routing ends the search; the others are
        neighbourhoods.
        """
        sizes = [size for size in _CORE_SIZES if size < self.core_pairs]
        for attempt, most_pairs in enumerate([*sizes, self.core_pairs]):
            if search.closed or search.clock.expired or most_pairs == 0:
                break
            held = search.incumbent
            answer = search_core(
                engine,
                search.prices,
                gap=search.gap,
                base=votes if held is None else held,
                feasible=held is not None,
                most_pairs=most_pairs,
                options=replace(search.options, seed=search.options.seed + attempt),
                clock=Clock(min(search.clock.left, self.core_time_limit)),
            )
            if answer.assignment is not None:
                search.offer(answer.assignment, "core")
            if answer.interrupted:
                raise KeyboardInterrupt
            if answer.complete:
                search.claim(answer.best_bound)
                break


@dataclass(slots=True, eq=False)
class _Search:
    """What is held at any moment, so that an interruption loses nothing."""

    problem: RoutingProblem
    options: SolveOptions
    clock: Clock
    incumbent: Ints | None = None
    objective: float = math.inf
    bound: float = -math.inf
    claimed: float = -math.inf
    passes: float = 0.0
    ray: Prices | None = None
    prices: Prices = field(init=False)

    def __post_init__(self) -> None:
        self.prices = Prices.of(self.problem, np.zeros(self.problem.n_rows))

    @property
    def best_bound(self) -> float:
        return max(self.bound, self.claimed)

    @property
    def gap(self) -> float:
        return self.objective - self.bound

    @property
    def closed(self) -> bool:
        if self.incumbent is None:
            return False
        near = self.objective - self.best_bound <= _OPTIMAL * abs(self.objective)
        return near or self.options.closed(self.objective, self.best_bound)

    def gap_reached(self) -> Termination:
        near = self.objective - self.best_bound <= _OPTIMAL * abs(self.objective)
        return Termination.OPTIMAL if near else Termination.GAP

    def ascend(self, engine: LocalEngine) -> Ints:
        tell = self.teller(engine, "ascent")
        start = np.zeros(self.problem.n_rows)
        tell(start, engine.cuts(start, np.array([0, self.problem.n_queries])).value)
        self.passes += 1
        if self.problem.n_rows:
            climbed = ascend(
                engine,
                start,
                seed=self.options.seed,
                clock=replace(self.clock, time_limit=0.5 * self.clock.time_limit),
                tell=tell,
            )
            self.passes += climbed.passes
        return self.cheapest()

    def polish(self, engine: LocalEngine, most: float) -> Polished:
        """Take the prices held to the relaxation's optimum, if no price there exceeds ``most``."""
        polished = polish(
            engine,
            engine.scaled(self.prices),
            ceiling=_worst(self.problem) * engine.value_scale,
            relative=_EXACT,
            clock=replace(self.clock, time_limit=0.7 * self.clock.time_limit),
            tell=self.teller(engine, "polish"),
            box=Box(most=most, radius=0.1),
        )
        self.passes += polished.passes
        return polished

    def cheapest(self) -> Ints:
        """Each query on its cheapest model at the prices held."""
        return lagrangian(self.problem, self.prices).assignment

    def teller(self, engine: LocalEngine, phase: str) -> Tell:
        def tell(scaled: Floats, value: float) -> None:
            if value / engine.value_scale > self.bound:
                self.bound = value / engine.value_scale
                self.prices = engine.prices(scaled)
                self.report(phase)

        return tell

    def offer(self, routing: Ints, phase: str) -> None:
        value = self.problem.value(routing)
        if value < self.objective:
            self.incumbent, self.objective = routing, value
            self.report(phase)

    def claim(self, bound: float) -> None:
        """A bound on HiGHS's word; infinite where it finds no routing at all."""
        self.claimed = min(bound, self.objective)

    def round(self, wish: Ints) -> None:
        routed = repair(self.problem, wish, self.prices, self.clock)
        if routed is not None:
            self.offer(routed, "rounding")
            self.offer(improve(self.problem, routed, self.clock), "rounding")

    def find_ray(self) -> bool:
        """Look for weights that prove the limits contradictory: the dual with no objective."""
        engine = LocalEngine(self.problem.without_objective())
        found = polish(
            engine,
            np.zeros(self.problem.n_rows),
            ceiling=math.inf,
            relative=_EXACT,
            clock=self.clock,
            tell=lambda scaled, value: None,
            box=Box(most=1.0, radius=1.0),
        )
        self.passes += found.passes
        if found.value > 1e-12:
            self.ray = engine.prices(found.scaled).normalized()
        return self.ray is not None

    def report(self, phase: str) -> None:
        if self.options.progress is not None:
            self.options.progress(
                Progress(phase, self.objective, self.best_bound, self.clock.seconds)
            )

    def solution(self, termination: Termination) -> Solution:
        if termination is Termination.INFEASIBLE:
            status = Status.INFEASIBLE
        elif self.incumbent is None:
            status = Status.UNKNOWN
        else:
            near = self.objective - self.best_bound <= _OPTIMAL * abs(self.objective)
            status = Status.OPTIMAL if near else Status.FEASIBLE
        return Solution(
            status=status,
            termination=termination,
            assignment=self.incumbent,
            prices=self.prices,
            ray=self.ray,
            best_bound=math.inf
            if status is Status.INFEASIBLE
            else min(self.best_bound, self.objective),
            solver="lagrangian",
            seconds=self.clock.seconds,
            iterations=math.ceil(self.passes),
        )


def _worst(problem: RoutingProblem) -> float:
    """What no routing can exceed: every query on its dearest allowed model."""
    total = 0.0
    for block in problem.blocks():
        part = problem.objective[block]
        total += float(np.where(np.isfinite(part), part, -np.inf).max(axis=1).sum())
    return total + 1e-9 * abs(total)
