"""What the bound leaves open: proved to hold nothing better, or searched until it does.

A core that is small enough is given to the branch and bound, whose tree is a proof; between its
attempts, local search and programs on neighbourhoods better the routing, which shrinks the core.
"""

import math
from dataclasses import replace

import numpy as np

from dualroute.arrays import Ints
from dualroute.lattice import find_resolution, implied_bound, least_step
from dualroute.proof import Proof, lift, rooted
from dualroute.region import Region, core_of, core_problem
from dualroute.solver import Clock
from dualroute.solvers.lagrangian.branch import Search
from dualroute.solvers.lagrangian.focus import Focus, whole_focus
from dualroute.solvers.lagrangian.held import OPTIMAL, Held
from dualroute.solvers.lagrangian.search import search

_COMPILE_SECONDS = 10.0
# Parts of the time for proofs and for searches, in turn; what one leaves goes to the next.
_TURNS = (
    ("search", 0.005),
    ("proof", 0.03),
    ("search", 0.1),
    ("proof", 0.15),
    ("search", 0.5),
    ("proof", 0.7),
    ("search", 1.0),
)


def settle(held: Held, place: Focus, most_pairs: int, seconds: float) -> None:
    """Better the routing and the bound held, until the gap is closed or the time is up.

    Parameters
    ----------
    place
        Where the dual was solved.
    most_pairs
        Largest core given to the branch and bound.
    seconds
        For all of it.
    """
    clock = Clock(min(seconds, held.clock.left))
    proving = _Proving(held, most_pairs)
    for what, share in _TURNS:
        if held.closed or clock.expired:
            return
        turn = Clock(share * clock.left)
        if what == "proof":
            with held.timed("proof"):
                proving.go_on(turn)
        # What HiGHS claims to be the best is left to be proved.
        elif held.best_bound < held.objective:
            _search(held, held.core(place), turn)


def _search(held: Held, place: Focus, clock: Clock) -> None:
    base = held.routing_at(place)
    # Gaps are relative to the whole objective, of which a place has only a part.
    nearly = OPTIMAL * abs(held.objective) if base is not None else 0.0
    with held.timed("search"):
        answer = search(
            place.engine,
            place.prices,
            base=held.cheapest(place) if base is None else base,
            feasible=base is not None,
            bound=held.bound - place.settled_cost,
            options=replace(held.options, mip_rel_gap=0.0, mip_abs_gap=max(_asked(held), nearly)),
            clock=clock,
            may_compile=held.clock.left > _COMPILE_SECONDS,
            offer=lambda routing, phase: held.offer(place, routing, phase),
        )
    if answer.interrupted:
        raise KeyboardInterrupt
    if answer.complete:
        held.claim(answer.best_bound + place.settled_cost)


class _Proving:
    """Branch and bound on the core, in turns; what it proves is kept as a tree to check.

    A turn goes on with the tree of the last, whatever routing was found elsewhere in between.
    """

    def __init__(self, held: Held, most_pairs: int) -> None:
        self.held, self.most_pairs = held, most_pairs
        self.resolution = find_resolution(held.problem)
        self.prices = held.prices
        self.region: Region | None = None
        self.tree: Search | None = None

    def go_on(self, clock: Clock) -> None:
        """Grow the tree for a while; keep what it proves."""
        held = self.held
        # Without a routing the core is everything: one found elsewhere is worth starting over.
        if self.tree is None or (self.region is None and held.incumbent is not None):
            self.tree = self._planted()
        if self.tree is None:
            return
        region = self.region
        offset = 0.0 if region is None else float(region.offset)
        self.tree.beat(held.objective - offset)
        answer = self.tree.go_on(clock)
        if answer.bound > -math.inf:
            # Where nothing keeps the limits the objective is infinite, and so is what is proved.
            bound = min(answer.bound + offset, held.objective)
            if math.isfinite(bound):
                bound = min(implied_bound(bound, self.resolution, held.problem), held.objective)
            proof = self._root(self.tree.step)
            queries = np.arange(held.problem.n_queries) if region is None else region.queries
            held.prove(lift(answer.proof, queries, proof), bound)
        if answer.interrupted:
            raise KeyboardInterrupt

    def _step(self) -> float:
        """By how much a routing must be better to matter."""
        held = self.held
        if held.incumbent is None:
            return 0.0
        return max(least_step(held.problem, held.objective, self.resolution), _asked(held))

    def _root(self, step: float) -> Proof:
        held = self.held
        cutoff = held.objective - step
        return rooted([self.prices], cutoff=cutoff, resolution=self.resolution, steps=held.steps)

    def _planted(self) -> Search | None:
        """A tree on the core; None where that is too large, or proved to hold nothing better."""
        held = self.held
        known, step = held.incumbent is not None, self._step()
        open_problem = held.problem
        if known:
            core = core_of(held.problem, [self.prices], held.objective - step)
            if core is None:
                bound = implied_bound(held.objective - step, self.resolution, held.problem)
                held.prove(self._root(step), min(bound, held.objective))
                return None
            self.region, pairs = core
            open_problem = core_problem(self.region, pairs)
        if np.isfinite(open_problem.objective).sum() > self.most_pairs:
            return None
        return Search(
            open_problem,
            prices=self.prices,
            options=replace(held.options, mip_rel_gap=0.0, mip_abs_gap=_asked(held)),
            resolution=self.resolution,
            step=step if known else None,
            offer=self._offer,
        )

    def _offer(self, routing: Ints) -> None:
        held = self.held
        whole = routing if self.region is None else self.region.routing(routing)
        if held.problem.meets_target(whole):
            everything = whole_focus(held.engine, np.zeros(held.problem.n_rows))
            held.offer(everything, whole, "branch")


def _asked(held: Held) -> float:
    """The gap asked for, in objective units, now or at any better objective."""
    if held.incumbent is None:
        return 0.0
    least = min(abs(held.objective), abs(held.best_bound))
    if held.best_bound < 0 < held.objective:
        least = 0.0
    return max(held.options.mip_abs_gap, held.options.mip_rel_gap * least)
