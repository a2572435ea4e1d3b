"""Bounds and routings all along a line of limits, for little more than one pass a point.

Prices come from one sample, corrected by what the whole was seen to use at points nearby, and a
few points share one reading of the table: see `dualroute.solvers.lagrangian.path`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from dualroute.arrays import Floats
from dualroute.line import Line
from dualroute.parametric import Known, Plane, Routed, exact, totals
from dualroute.problem import Prices
from dualroute.rigour import Look, rounded_down
from dualroute.solver import Clock
from dualroute.solvers.lagrangian.path import Priced, Sample, mended

_AT_ONCE = 8  # points that share a reading of the table, and every so many are the first
_LOOKS = 3  # at a point


@dataclass(slots=True, eq=False)
class Trace:
    """A sample, and what the whole was seen to use beyond it.

    Attributes
    ----------
    known
        What planes and routings are added to.
    line
        The limits.
    closed
        Whether nothing is left to do at a value.
    clock
        When to stop.
    sample
        What limits are priced with.
    marks
        At values looked at: prices and, in one vector with them, use beyond the sample's.
    """

    known: Known
    line: Line
    closed: Callable[[float], bool]
    clock: Clock
    sample: Sample = field(init=False)
    marks: dict[float, Floats] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sample = Sample.of(self.known.problem, self.known.options)

    def run(self, values: Sequence[float]) -> Iterator[None]:
        """Go through values in order until their gaps are closed; yields after some of them.

        Ends sooner where that does not come off: where too many queries are tied for a sample
        to price limits, or where most points of a batch stay open.
        """
        for batch in _batches(values):
            tried = left = [value for value in batch if not self.closed(value)]
            for _ in range(_LOOKS):
                if not left:
                    break
                priced: list[Priced] = []
                for value in left:
                    found = self._priced(value, priced[-1].prices if priced else None)
                    if found is None or self.clock.expired:
                        return
                    priced.append(found)
                looks = self.known.look([each.prices for each in priced])
                for value, each, look in zip(left, priced, looks, strict=True):
                    beyond = np.array(totals(look.sums[1:])) - each.use
                    self.marks[value] = np.concatenate([each.prices.vector, beyond])
                    self._mend(value, look)
                left = [value for value in left if not self.closed(value)]
            yield
            if len(left) > max(1, len(tried) // 2):
                return

    def _priced(self, value: float, start: Prices | None) -> Priced | None:
        """Prices at a value, from the sample; `start` is for where no value has been marked."""
        known, limit = self.known, self.line.limit(value)
        if self.marks:
            held = sorted(self.marks)
            marked = np.array([self.marks[one] for one in held])
            near = np.array([np.interp(value, held, column) for column in marked.T])
            vector, beyond = np.split(near, 2)
            start, limit = Prices.of(known.problem, vector), limit - beyond
        priced = self.sample.priced(limit, start, self.clock)
        if priced is not None:
            known.passes += priced.passes
        return priced

    def _mend(self, value: float, look: Look) -> None:
        """Add the routing that a look gives, mended."""
        if look.total is None or self.clock.expired:
            return
        known, limit = self.known, self.line.limit(value)
        limits = exact(limit)
        bound = rounded_down(Plane(look.prices, look.total).at(limits))
        options = replace(known.options, progress=None)
        problem = known.problem.with_limit(limit)
        routing, passes = mended(problem, look, bound, options, self.clock)
        known.passes += passes
        if routing is not None:
            known.add_routing(Routed.near(known.problem, look, routing), limits)


def _batches(values: Sequence[float]) -> Iterator[list[float]]:
    """Some from all over, then some from half-way between those that came before, and so on."""
    given: set[float] = set()
    step = _AT_ONCE
    while step:
        level = [value for value in values[::step] if value not in given]
        given.update(level)
        for first in range(0, len(level), _AT_ONCE):
            yield level[first : first + _AT_ONCE]
        step //= 2
