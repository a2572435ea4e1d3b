"""Bounds and routings all along a line of limits, for a part of a pass a point.

Prices come from one sample, corrected by what the whole was seen to use at points nearby: see
`dualroute.solvers.lagrangian.path`. Every eighth point is looked at, several for one reading of
the table; what is between them is halved again and again, and of each look only those queries
are priced that its neighbours leave open: see `dualroute.looks`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from dualroute.arrays import Floats
from dualroute.line import Line
from dualroute.looks import Look
from dualroute.parametric import Known, Plane, Routed, exact, totals
from dualroute.problem import Prices
from dualroute.rigour import rounded_down
from dualroute.solver import Clock
from dualroute.solvers.lagrangian.path import Priced, Sample, mended

_STRIDE = 8  # from one point that is looked at by itself to the next
_AT_ONCE = 8  # of them share a reading of the table
_PATIENT = False, False, False, True  # by look at a point: better prices are tried first


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
    better
        Prices for the next look at a value.
    tried, missed
        Values so far, and those that stayed open.
    """

    known: Known
    line: Line
    closed: Callable[[float], bool]
    clock: Clock
    sample: Sample = field(init=False)
    marks: dict[float, Floats] = field(default_factory=dict)
    better: dict[float, Prices] = field(default_factory=dict)
    tried: int = field(init=False, default=0)
    missed: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.sample = Sample.of(self.known.problem, self.known.options)

    def run(self, values: Sequence[float]) -> Iterator[None]:
        """Go through values in order until their gaps are closed; yields after some of them.

        Ends sooner where that does not come off: where too many queries are tied for a sample
        to price limits, or where most points stay open.
        """
        kept = [v for v in values if not self.known.excluded(exact(self.line.limit(v)))]
        ends = sorted({*range(0, len(kept), _STRIDE), *range(len(kept))[-1:]})
        before: dict[int, Look] = {}  # of the batch before: the last end
        for first in range(0, len(ends), _AT_ONCE):
            batch = ends[first : first + _AT_ONCE]
            found = self._looked([kept[k] for k in batch])
            looks = before | {k: found[kept[k]] for k in batch if kept[k] in found}
            before = {batch[-1]: found[kept[batch[-1]]]} if kept[batch[-1]] in found else {}
            yield
            for (i, one), (j, other) in pairwise(looks.items()):
                for _ in self._halved(kept[i + 1 : j], one, other):
                    yield
                    if self._ended:
                        return
            if self._ended or not before:
                return

    @property
    def _ended(self) -> bool:
        """Whether to stop: time is up, or most points tried stay open."""
        return self.clock.expired or self.missed > max(1, self.tried // 2)

    @property
    def _patience(self) -> Sequence[bool]:
        """For each look at a value, whether much is made of it; one where prices are the best."""
        return _PATIENT if self.sample.share < 1 else _PATIENT[-1:]

    def _looked(self, values: Sequence[float]) -> dict[float, Look]:
        """The last look at each of some values, up to the first that cannot be priced."""
        found: dict[float, Look] = {}
        left = list(values)
        for patient in self._patience:
            priced: list[Priced] = []
            for value in left:
                one = self._priced(value, priced[-1].prices if priced else None)
                if one is None:
                    break
                priced.append(one)
            if not priced or self.clock.expired:
                break
            looks = self.known.look([each.prices for each in priced])
            for value, each, look in zip(left, priced, looks, strict=False):
                self._see(value, each, look, patient)
                found[value] = look
            left = [value for value in left if not self.closed(value)]
        self.tried += len(values)
        self.missed += len(left)
        return found

    def _halved(self, values: Sequence[float], one: Look, other: Look) -> Iterator[None]:
        """Look at values between those of two looks, the middle one first."""
        left = [value for value in values if not self.closed(value)]
        if not left or self._ended:
            return
        half = len(left) // 2
        look = self._between(left[half], one, other)
        yield
        if look is None:
            self.tried += len(left) - 1
            self.missed += len(left) - 1
            return
        yield from self._halved(left[:half], one, look)
        yield from self._halved(left[half + 1 :], look, other)

    def _between(self, value: float, one: Look, other: Look) -> Look | None:
        """The last look at a value between those of two looks."""
        look = None
        self.tried += 1
        for patient in self._patience:
            priced = self._priced(value, None)
            if priced is None or self.clock.expired:
                break
            looks = (one, other) if look is None else (one, look, other)
            look = self.known.look_between(looks, priced.prices)
            self._see(value, priced, look, patient)
            if self.closed(value):
                return look
        self.missed += 1
        return look

    def _priced(self, value: float, start: Prices | None) -> Priced | None:
        """Prices at a value: what the last look there gave, or from the sample.

        `start` is for where no value has been marked.
        """
        known, limit = self.known, self.line.limit(value)
        priced: Priced | None
        if (better := self.better.pop(value, None)) is not None:
            priced = self.sample.used(better)
        else:
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

    def _see(self, value: float, priced: Priced, look: Look, patient: bool) -> None:
        """Remember what a look saw, and add the routing that it gives, mended."""
        beyond = np.array(totals(look.sums[1:])) - priced.use
        self.marks[value] = np.concatenate([look.prices.vector, beyond])
        if look.total is None or self.clock.expired:
            return
        known, limit = self.known, self.line.limit(value)
        limits = exact(limit)
        bound = rounded_down(Plane(look.prices, look.total).at(limits))
        options = replace(known.options, progress=None)
        problem = known.problem.with_limit(limit)
        found = mended(problem, look, bound, options, self.clock, patient)
        known.passes += found.passes
        if found.prices is not None:
            self.better[value] = found.prices
        if found.routing is not None:
            known.add_routing(Routed.near(known.problem, look, found.routing), limits)
