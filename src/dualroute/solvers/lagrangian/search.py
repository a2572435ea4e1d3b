"""Routings for given prices: cores and neighbourhoods in HiGHS, and exchanges between them.

What the bound leaves open is searched in three ways. A core that holds every pair of a better
routing settles the matter, if HiGHS can. `Exchange` makes many small steps, and programs on the
queries that are cheap to move make few large ones (large neighbourhoods, Shaw 1998,
doi:10.1007/3-540-49481-2_30; chosen by reduced cost, as Danna, Rothberg & Le Pape 2005,
doi:10.1007/s10107-004-0518-7, choose theirs from the relaxation); these rest for as long as they
brought nothing.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from dualroute.arrays import Bools, Ints
from dualroute.engines.local import LocalEngine
from dualroute.exchange import Exchange, is_compiled
from dualroute.problem import Prices, allowed_pairs, lagrangian, regrets
from dualroute.solver import Clock, SolveOptions
from dualroute.solvers.lagrangian.core import CoreAnswer, columns_of, open_pairs, solve_pairs

_AT_ONCE = 300  # pairs of a core that HiGHS may well settle before anything is compiled
_SMALL_CORE, _CORE = 500, 6_000
_LARGEST_CORE = 50_000
_CORE_SHARE, _SMALL_CORE_SHARE = 0.15, 0.4
_CORE_SECONDS = 3.0
_PROGRAM_SECONDS = 1.0
_PROGRAM = 300  # pairs of the first program; later ones take what fits their time
_SMALLEST_PROGRAM, _LARGEST_PROGRAM = 60, 20_000
_EXCHANGES = 25  # calls of its kernel at a time
_LONGEST_REST = 16
_PATIENCE, _FEW_PROGRAMS = 80, 8
_OPTIMAL = 1e-9


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    """How a search ended; its routings were offered on the way.

    Attributes
    ----------
    best_bound
        HiGHS's bound on the problem, from a core that held every pair of a better routing;
        ``-inf`` without one, ``inf`` where it found that no routing keeps the limits.
    complete
        Whether such a core was solved to its end.
    interrupted
        Whether Ctrl-C ended it.
    """

    best_bound: float
    complete: bool
    interrupted: bool = False


def search(
    engine: LocalEngine,
    prices: Prices,
    *,
    base: Ints,
    feasible: bool,
    bound: float,
    options: SolveOptions,
    clock: Clock,
    may_compile: bool = True,
    offer: Callable[[Ints, str], None],
) -> SearchAnswer:
    """Look for better routings until the gap asked for is reached or nothing more is gained.

    Parameters
    ----------
    engine
        Over the queries that are searched.
    prices
        Good prices, in the problem's own units.
    base
        A routing to start from, shape ``(n,)``.
    feasible
        Whether it keeps every limit.
    bound
        A lower bound on the objective, to measure the gap by.
    options
        Gaps to stop at, seed and threads; the time is the clock's.
    may_compile
        Whether there is time for loading compiled code, which its first use has to compile.
    offer
        Called with each better routing that keeps every limit, and the phase that found it.
    """
    hunt = _Hunt(engine, prices, base, feasible, bound, options, clock, may_compile, offer)
    hunt.run()
    return SearchAnswer(hunt.best_bound, hunt.complete, hunt.interrupted)


@dataclass(slots=True, eq=False)
class _Hunt:
    """What a search holds at any moment."""

    engine: LocalEngine
    prices: Prices
    routing: Ints
    feasible: bool
    bound: float
    options: SolveOptions
    clock: Clock
    may_compile: bool
    offer: Callable[[Ints, str], None]
    objective: float = math.inf
    floor: float = -math.inf
    best_bound: float = -math.inf
    complete: bool = False
    interrupted: bool = False
    exchange: Exchange | None = None
    program_pairs: int = _PROGRAM
    programs: int = 0
    core_tried: float = math.inf
    core_seconds: float = 0.0
    draw: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        problem = self.engine.problem
        self.draw = np.random.default_rng(self.options.seed)
        # Pairs are left out by the bound of these very prices, whatever better one is known.
        self.floor = lagrangian(problem, self.prices).value
        if self.feasible:
            self.objective = problem.value(self.routing)

    @property
    def over(self) -> bool:
        """Whether there is nothing left to do, or no time to do it in."""
        if self.complete or self.interrupted or self.clock.expired:
            return True
        best = max(self.bound, self.best_bound)
        near = self.objective - best <= _OPTIMAL * abs(self.objective)
        return self.feasible and (near or self.options.closed(self.objective, best))

    def run(self) -> None:
        """Alternate exchanges, programs and cores until it is over."""
        self.try_core(_AT_ONCE)
        fruitless, failures = 0, 0
        resting = 0 if self.feasible else _LONGEST_REST // 2
        while not self.over and (fruitless < _PATIENCE or failures < _FEW_PROGRAMS):
            fruitless = 0 if self.exchanged() else fruitless + 1
            if self.over:
                break
            if resting > 0:
                resting -= 1
            elif self.programmed():
                fruitless, failures = 0, 0
            else:
                failures += 1
                resting = min(2 * failures - 1, _LONGEST_REST)
            self.try_core(_CORE)
        if not self.over:
            self.try_core(_LARGEST_CORE, last=True)

    def take(self, routing: Ints, phase: str) -> bool:
        """Keep a routing that keeps every limit if it is better; whether it is."""
        value = self.engine.problem.value(routing)
        if value >= self.objective:
            return False
        self.routing, self.objective, self.feasible = routing, value, True
        if self.exchange is not None and phase != "exchange":
            self.exchange.go_on_from(routing)
        self.offer(routing, phase)
        return True

    def exchanged(self) -> bool:
        """Some neighbourhoods re-optimised by the compiled search; whether it found better."""
        if not (self.may_compile or is_compiled()):
            return False
        if self.exchange is None:
            problem = self.engine.problem
            self.exchange = Exchange(problem, self.prices, self.routing, self.options.seed)
        if not self.exchange.advance(self.clock, _EXCHANGES):
            return False
        assert self.exchange.best is not None
        return self.take(self.exchange.best, "exchange")

    def programmed(self) -> bool:
        """A program on some queries that are cheap to move; whether it found better."""
        pairs = self.neighbourhood()
        if not pairs.any():
            return False
        self.programs += 1
        limit = min(self.clock.left, _PROGRAM_SECONDS if self.feasible else 4 * _PROGRAM_SECONDS)
        began = self.clock.seconds
        # Without a routing that keeps the limits, every allowed pair is in the program.
        answer = self.solve(pairs, limit, complete=not self.feasible)
        took = self.clock.seconds - began
        if not answer.finished:
            self.program_pairs = max(int(0.7 * self.program_pairs), _SMALLEST_PROGRAM)
        elif took < 0.3 * limit:
            self.program_pairs = min(int(1.4 * self.program_pairs), _LARGEST_PROGRAM)
        return answer.assignment is not None and self.take(answer.assignment, "program")

    def neighbourhood(self) -> Bools:
        """Pairs of queries drawn at random, those that are cheap to move more often."""
        problem = self.engine.problem
        if not self.feasible:
            pairs = allowed_pairs(problem)
            return pairs if columns_of(pairs) <= _LARGEST_CORE else np.zeros_like(pairs)
        pairs = open_pairs(self.engine, self.prices, self.routing, self.objective - self.floor)
        counts = pairs.sum(axis=1)
        free = np.flatnonzero(counts > 1)
        if free.size == 0:
            return np.zeros_like(pairs)
        reduced = regrets(problem, self.prices, free)
        lines = np.arange(free.size)
        held = reduced[lines, self.routing[free]]
        reduced[lines, self.routing[free]] = np.inf
        cheapest = np.maximum(reduced.min(axis=1) - held, 0.0)
        cheapest += 0.1 * float(cheapest.mean()) + 1e-300
        order = np.argsort(cheapest * self.draw.exponential(1.0, free.size))
        few = max(2.0, self.program_pairs / max(free.size, 1))
        taken = np.cumsum(np.minimum(counts[free[order]], max(few, 6.0))) <= self.program_pairs
        chosen = order[: max(int(taken.sum()), 2)]
        # Of each query the pairs of least regret: a better routing has room for little more.
        rank = np.argsort(np.argsort(reduced[chosen], axis=1), axis=1)
        near = np.zeros_like(pairs)
        near[free[chosen]] = pairs[free[chosen]] & (rank < max(few, 5.0))
        return near

    def try_core(self, most_pairs: int, *, last: bool = False) -> None:
        """Solve the core if it is small enough, and smaller than when that was tried before."""
        if self.over:
            return
        problem = self.engine.problem
        if self.feasible:
            gap = self.objective - self.floor
            pairs = open_pairs(self.engine, self.prices, self.routing, gap)
        else:
            pairs = allowed_pairs(problem)
        size = columns_of(pairs)
        if size > most_pairs or (size > 0.7 * self.core_tried and not last):
            return
        seconds = self.clock.left
        if not last:
            share = _SMALL_CORE_SHARE if size <= _SMALL_CORE else _CORE_SHARE
            spare = share * (self.clock.left + self.core_seconds) - self.core_seconds
            seconds = min(_CORE_SECONDS, max(spare, 0.0))
            if seconds < 0.1 and size > 500:
                return
        began = self.clock.seconds
        answer = self.solve(pairs, max(seconds, 0.1), complete=True)
        self.core_tried = size
        self.core_seconds += self.clock.seconds - began
        if answer.assignment is not None:
            self.take(answer.assignment, "core")

    def solve(self, pairs: Bools, seconds: float, *, complete: bool) -> CoreAnswer:
        """The best routing on some pairs, in HiGHS; what it proves is kept if they are complete."""
        answer = solve_pairs(
            self.engine.problem,
            self.prices,
            pairs,
            base=self.routing,
            feasible=self.feasible,
            complete=complete,
            options=replace(self.options, seed=self.options.seed + self.programs),
            clock=Clock(min(seconds, self.clock.left)),
        )
        if complete:
            self.best_bound = max(self.best_bound, answer.best_bound)
            self.complete = answer.finished
        self.interrupted |= answer.interrupted
        return answer
