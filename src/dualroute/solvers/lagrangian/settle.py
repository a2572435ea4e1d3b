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
from dualroute.region import core_of, core_problem
from dualroute.solver import Clock
from dualroute.solvers.lagrangian.branch import branch
from dualroute.solvers.lagrangian.focus import Focus, whole_focus
from dualroute.solvers.lagrangian.held import OPTIMAL, Held
from dualroute.solvers.lagrangian.search import search

_MUCH_LONGER = 3.0  # than the last time: then the same proof is tried again
# Parts of the time for proofs and for searches, in turn; what one leaves goes to the next.
_TURNS = (
    ("search", 0.02),
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
    tried, tried_seconds = math.inf, 0.0
    for what, share in _TURNS:
        if held.closed or clock.expired:
            return
        turn = Clock(share * clock.left)
        if what == "search":
            # What HiGHS claims to be the best is left to be proved.
            if held.best_bound < held.objective:
                _search(held, held.core(place), turn)
        elif held.objective < tried or turn.time_limit > _MUCH_LONGER * tried_seconds:
            tried, tried_seconds = held.objective, turn.time_limit
            with held.timed("proof"):
                _prove(held, most_pairs, turn)


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
            offer=lambda routing, phase: held.offer(place, routing, phase),
        )
    if answer.interrupted:
        raise KeyboardInterrupt
    if answer.complete:
        held.claim(answer.best_bound + place.settled_cost)


def _prove(held: Held, most_pairs: int, clock: Clock) -> None:
    """Try the branch and bound on the core; what it proves is kept as a tree to check."""
    problem = held.problem
    resolution = find_resolution(problem)
    options = replace(held.options, mip_rel_gap=0.0, mip_abs_gap=_asked(held))
    known = held.incumbent is not None
    step = least_step(problem, held.objective, resolution) if known else 0.0
    step = max(step, _asked(held))

    def first(cutoff: float) -> Proof:
        return rooted([held.prices], cutoff=cutoff, resolution=resolution, steps=held.steps)

    core = core_of(problem, [held.prices], held.objective - step) if known else None
    if known and core is None:
        bound = implied_bound(held.objective - step, resolution, problem)
        held.prove(first(held.objective - step), min(bound, held.objective))
        return
    everything = whole_focus(held.engine, np.zeros(problem.n_rows))
    open_problem, queries, offset = problem, everything.queries, 0.0
    if core is not None:
        region, pairs = core
        open_problem, queries = core_problem(region, pairs), region.queries
        offset = float(region.offset)
    if np.isfinite(open_problem.objective).sum() > most_pairs:
        return

    def offer(routing: Ints) -> None:
        whole = routing if core is None else core[0].routing(routing)
        if problem.meets_target(whole):
            held.offer(everything, whole, "branch")

    answer = branch(
        open_problem,
        prices=held.prices,
        objective=held.objective - offset,
        options=options,
        clock=clock,
        resolution=resolution,
        step=step if known else None,
        offer=offer,
    )
    if answer.bound > -math.inf:
        if held.incumbent is not None and not known:
            step = least_step(problem, held.objective, resolution)
        # Where nothing keeps the limits the objective is infinite, and so is what is proved.
        bound = min(answer.bound + offset, held.objective)
        if math.isfinite(bound):
            bound = min(implied_bound(bound, resolution, problem), held.objective)
        held.prove(lift(answer.proof, queries, first(held.objective - step)), bound)
    if answer.interrupted:
        raise KeyboardInterrupt


def _asked(held: Held) -> float:
    """The gap asked for, in objective units; 0 where all of it is to be closed."""
    if held.incumbent is None:
        return 0.0
    relative = held.options.mip_rel_gap * abs(held.objective)
    return max(held.options.mip_abs_gap, relative)
