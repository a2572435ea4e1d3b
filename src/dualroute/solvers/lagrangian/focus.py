"""Where the search works: the whole table, or the few queries that a box of prices leaves open.

Good prices are known early, from samples and one Newton step on the whole. In a small box around
them nearly every query keeps its cheapest model whatever the prices, so it is settled, and one
pass leaves a problem with few queries whose dual, on the box, is exactly that of the whole: what
follows costs next to nothing. If the best prices turn out to stand at the box's edge, the box is
moved there and grows.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from dualroute.arrays import Floats, Ints
from dualroute.engines.local import LocalEngine, Part, Types
from dualroute.problem import Prices, cost_of
from dualroute.solver import Clock
from dualroute.solvers.lagrangian.ascent import (
    COLDEST,
    Ascent,
    Box,
    Tell,
    ascend,
    cooled,
    newton_step,
)
from dualroute.solvers.lagrangian.samples import TIED, Sampled
from dualroute.sweep import Chunk

LARGE = 8_001  # queries, from which on it pays to look for the few that matter
_COUNTED = 30_000  # queries, from which on few types among them can be hoped for
_MOVES = 5
_MOST_FREE = 0.4
_MARGIN = 1e-3
_TIE = 1e-11  # of a mean query's objective
_NEARLY_BINDING = 0.05
_SAMPLING = 0.03
_TYPICAL = 1e-2
_OWN_MOVE, _ALL_MOVE = 0.15, 0.1  # parts of a Newton step that prices may still be off by
_NEAR = 30.0  # queries' worth: the temperature of the one pass over the whole, and
_MANY_ROWS = 100  # with more rows than this, in proportion more
_LOOKS = 4
_COOL = 1e-5  # the least temperature of the one pass over the whole
_WARM = 1e-2  # the temperature from which good prices are bettered

Told = Callable[[Prices, float], None]


@dataclass(frozen=True, slots=True, eq=False)
class Focus:
    """An engine over the free queries, and what ties it to the whole problem.

    Attributes
    ----------
    engine
        Over the free queries; over all where there is no `part`.
    part
        Which queries are free, and what the others do; None for the whole problem.
    scaled
        Best prices found, in the engine's scale, shape ``(K,)``.
    box
        Where the engine's dual is that of the whole, in the engine's scale.
    margin
        No settled query has another pair of reduced cost this small or smaller, at any prices
        in the box, in objective units.
    passes
        Whole-table passes spent on the way.
    types
        Where the engine's queries are types of equal ones: what they stand for.
    unsure
        How far the prices may still be off, scaled, where nothing is settled.
    around
        Other prices near the best, scaled, shape ``(any, K)``, where samples left some.
    """

    engine: LocalEngine
    part: Part | None
    scaled: Floats
    box: Box
    margin: float
    passes: float
    types: Types | None = None
    unsure: float = 0.003
    around: Floats | None = None

    @property
    def prices(self) -> Prices:
        """Best prices found, in the problem's own units."""
        return self.engine.prices(self.scaled)

    @property
    def settled_cost(self) -> float:
        """Objective of the settled queries."""
        left = self.part or self.types
        return left.cost if left is not None else 0.0

    @property
    def queries(self) -> Ints:
        """Numbers of the free queries in the whole problem."""
        return np.arange(self.engine.problem.n_queries) if self.part is None else self.part.free

    def whole(self, assignment: Ints) -> Ints:
        """A routing of the free queries as one of all, ``(n,)``; not where there are types."""
        return self.part.whole(assignment) if self.part is not None else assignment

    def tell(self, told: Told) -> Tell:
        """`told`, as something that takes the engine's scaled prices and values."""

        def tell(scaled: Floats, value: float) -> None:
            told(self.engine.prices(scaled), value / self.engine.value_scale + self.settled_cost)

        return tell

    def at(self, scaled: Floats) -> "Focus":
        """The same place at other prices."""
        return replace(self, scaled=scaled)


def whole_focus(engine: LocalEngine, scaled: Floats, passes: float = 0.0) -> Focus:
    """No focus: all queries are free, and prices go anywhere."""
    return Focus(engine, None, scaled, Box.up_to(np.inf, scaled.size), np.inf, passes)


def narrowed(place: Focus, base: Ints, most: int, seed: int) -> Focus:
    """The same place with about ``most`` queries free, those that would change at least cost.

    Parameters
    ----------
    place
        Where the search stands.
    base
        A routing of its queries; the queries that are not on their cheapest model stay free.
    most
        Queries; where more are tied, a random part of them.
    seed
        Of that part.
    """
    engine = place.engine
    n = engine.problem.n_queries
    if n <= most:
        return place
    tie = _TIE / engine.value_scale / n
    gaps = np.empty(n, np.float32)

    def visit(chunk: Chunk) -> None:
        part = slice(chunk.start, chunk.stop)
        cost = cost_of(engine.problem, place.prices, part, base[part])
        # What stands on a dearer model comes first; of ties it is all the same where they stand.
        lead = np.where(chunk.second - chunk.best <= tie, 0.0, chunk.second - chunk.best)
        with np.errstate(over="ignore"):
            gaps[part] = np.where(cost - chunk.best > tie, -1.0, lead)

    engine.sweeper.sweep(place.prices, visit)
    reach = np.partition(gaps, most)[most]
    free = np.flatnonzero(gaps <= reach)
    if free.size > most:
        generator = np.random.default_rng(seed)
        first, rest = free[gaps[free] < reach], free[gaps[free] == reach]
        drawn = generator.choice(rest, most - first.size, replace=False)
        free = np.sort(np.concatenate([first, drawn]))
    inner = engine.restricted(free, base)
    part = Part(
        problem=inner.problem,
        free=free if place.part is None else place.part.free[free],
        settled=place.whole(base),
        cost=place.settled_cost + inner.cost,
    )
    closer = engine.over(part.problem)
    scaled = closer.scaled(place.prices)
    return Focus(closer, part, scaled, Box(scaled, scaled), 0.0, place.passes)


def focus(engine: LocalEngine, sampled: Sampled, *, clock: Clock, told: Told) -> Focus:
    """Climb from good prices to nearly the best, on as few queries as their box leaves open.

    Parameters
    ----------
    engine
        Over all queries.
    sampled
        Prices from samples.
    told
        Called with prices and a bound of the whole, in objective units, at each new best.
    """
    n, start = engine.problem.n_queries, sampled.scaled
    everything = whole_focus(engine, start)
    if n < LARGE:
        hottest = _WARM if (start > 0).any() else 1.0
        return _climbed(everything, hottest, clock, told)[0]
    if sampled.tied > TIED:
        typical = float(np.median(start[start > 0])) if (start > 0).any() else _TYPICAL
        unsure = sampled.moved + _SAMPLING * np.maximum(start, 0.3 * typical)
        worth_it = n >= _COUNTED and engine.sweeper.signs
        if worth_it:
            return counted(everything, unsure)
        return replace(everything, around=sampled.around)
    temperature = max(_NEAR / n * max(1.0, start.size / _MANY_ROWS), _COOL)
    place = everything
    for _ in range(_LOOKS):
        place, small = _look(place, temperature, clock, told)
        if small or clock.expired:
            break
        # Too much is left open by prices this far off: climb on all, and look again from there.
        place, _, near = _climbed(place, temperature, clock, told, coldest=temperature)
        temperature = cooled(temperature, near, start.size)
    return place


def _look(everything: Focus, temperature: float, clock: Clock, told: Told) -> tuple[Focus, bool]:
    """From one pass over all: the few queries near it and the best prices there, if they are few.

    Returns
    -------
    tuple of Focus and bool
        That place and True; or the whole at the prices reached, and False.
    """
    engine, start = everything.engine, everything.scaled
    n, passes = engine.problem.n_queries, everything.passes + 1.0
    here, survey = engine.survey(start, temperature)
    everything.tell(told)(start, here.value)
    step = newton_step(here, start, everything.box)
    centre = np.maximum(start + step, 0.0)
    radius = _first_radius(step, centre, here.gradient)
    margin = _MARGIN / (engine.value_scale * n)
    for _ in range(_MOVES):
        part = survey.part(centre, radius, margin)
        passes += 1.0
        if not 0 < part.free.size < _MOST_FREE * n or clock.expired:
            break
        inner = engine.over(part.problem)
        box = _box(engine, inner, centre, radius)
        place = Focus(inner, part, inner.scaled(engine.prices(centre)), box, margin, passes)
        cooler = cooled(temperature, here.near_ties, start.size)
        place, gradient, _ = _climbed(place, cooler, clock, told)
        edge = box.edge(place.scaled, gradient)
        if not edge.any() or clock.expired:
            return place, True
        centre = engine.scaled(place.prices)
        largest = float(radius.max())
        radius = np.where(edge, np.maximum(4.0 * radius, 0.5 * largest), radius)
    return replace(everything.at(centre), passes=passes, unsure=float(radius.max())), False


def counted(everything: Focus, radius: Floats) -> Focus:
    """A place where equal queries are counted: tables full of ties shrink to few types there.

    Parameters
    ----------
    everything
        The whole problem, at good prices.
    radius
        How far they may be off, in scaled prices, shape ``(K,)``.
    """
    engine, centre = everything.engine, everything.scaled
    types = engine.types(centre, radius)
    inner = engine.over(types.problem)
    box = _box(engine, inner, centre, radius)
    at = inner.scaled(engine.prices(centre))
    return Focus(inner, None, at, box, 0.0, everything.passes + 2.0, types)


def wider(place: Focus, engine: LocalEngine) -> Floats:
    """Half-widths of a box like a place's, wider where its prices stand at an edge.

    Scaled for `engine`, shape ``(K,)``.
    """
    edge = place.box.edge(place.scaled, np.zeros_like(place.scaled))
    width = 0.5 * (place.box.high - place.box.low) * np.where(edge, 4.0, 1.0)
    return engine.scaled(place.engine.prices(width))


def moved_box(everything: Focus, place: Focus) -> Focus | None:
    """A place around the prices of another, whose box held them back; None if it is not small."""
    engine = everything.engine
    centre, radius = engine.scaled(place.prices), wider(place, engine)
    part = engine.part(centre, radius, place.margin)
    if not 0 < part.free.size < _MOST_FREE * engine.problem.n_queries:
        return None
    inner = engine.over(part.problem)
    at, box = inner.scaled(place.prices), _box(engine, inner, centre, radius)
    return Focus(inner, part, at, box, place.margin, place.passes + 1.0)


def _box(engine: LocalEngine, inner: LocalEngine, centre: Floats, radius: Floats) -> Box:
    """A box given in one engine's scale, in that of another."""
    low, high = (inner.scaled(engine.prices(centre + s * radius)) for s in (-1.0, 1.0))
    return Box(low, high)


def _climbed(
    place: Focus, hottest: float, clock: Clock, told: Told, coldest: float = COLDEST
) -> tuple[Focus, Floats, int]:
    """The place at the best prices found by smoothing in its box; gradient, near-ties there."""
    climbed: Ascent = ascend(
        place.engine,
        place.scaled,
        hottest=hottest,
        coldest=coldest,
        clock=clock,
        box=place.box,
        tell=place.tell(told),
    )
    share = 1.0 if place.part is None else place.part.free.size / place.part.settled.size
    passes = place.passes + share * climbed.passes
    climbed_to = replace(place, scaled=climbed.scaled, passes=passes)
    return climbed_to, climbed.gradient, climbed.near_ties


def _first_radius(step: Floats, centre: Floats, gradient: Floats) -> Floats:
    """How far prices may still be off after one Newton step of this size.

    Some of what each moved, and by its size a part of the largest relative move, for a Hessian
    from near-tied queries is off by some percent; a price of zero may rise where its limit
    nearly binds.
    """
    priced = centre > 0
    if not priced.any():
        return np.full_like(centre, 1e-3)
    typical = float(np.median(centre[priced]))
    sizes = np.where(priced, np.maximum(centre, 0.3 * typical), typical)
    relative = float((np.abs(step) / sizes)[priced].max())
    idle = ~priced & (gradient < -_NEARLY_BINDING)
    radius = _OWN_MOVE * np.abs(step) + _ALL_MOVE * max(relative, 1e-3) * sizes
    return np.where(idle, 0.0, radius)
