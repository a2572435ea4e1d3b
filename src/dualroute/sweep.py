"""One pass over a table at given prices, compiled where the table is large, numpy where not.

A pass goes over the queries in chunks, each a pure function of the prices; chunks are shared
among threads and come back in order, so that sums over them have the same digits on any number
of threads. Families of limits that charge every query alike fold into one number per model, one
dense family and one family per query ride along in the same loop, and whatever else there is
(pools that depend on the query) is added by a loop of its own.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from dualroute.arrays import Bools, Floats, Ints, entries, part_of, pool_sums, read_only
from dualroute.problem import Prices, RoutingProblem, Rows, price_pairs

COMPILED_PAIRS = 2**16  # from this size on, importing numba repays itself within one solve
_CHUNK, _SMALL_CHUNK = 2**14, 2**13
_CHUNKS = 8  # of a pass at least, so that threads have something to share
_EXTRA_CHUNK = 2**12  # where a chunk's costs take an array of their own, it stays in cache
_HAIR = 1e-15  # of two costs: what rounding may move their difference by
_NO_VECTOR, _NO_GRID = np.empty(0), np.empty((0, 0))
_NOTHING = np.empty(0, np.int32)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Queries ``start .. stop`` at given prices, in the problem's own units.

    Attributes
    ----------
    start, stop
        Which queries.
    best, second
        Cost of the cheapest and the next cheapest model of each query, shape ``(stop - start,)``.
    chosen
        The cheapest model; ties go to the lowest index.
    value
        Sum of `best`.
    cost
        Objective under `chosen`.
    use
        Use of every row under `chosen`, shape ``(K,)``.
    """

    start: int
    stop: int
    best: Floats
    second: Floats
    chosen: Ints
    value: float
    cost: float
    use: Floats


@dataclass(frozen=True, slots=True, eq=False)
class LowChunk:
    """Queries ``start .. stop`` at given prices, where costs are uncertain.

    Attributes
    ----------
    start, stop
        Which queries.
    low, second
        The least lower end of any model's cost, and the next, shape ``(stop - start,)``.
    chosen
        The model of the least.
    cost, use
        Its objective, and its usage of the family `Sweeper.riding`.
    """

    start: int
    stop: int
    low: Floats
    second: Floats
    chosen: Ints
    cost: Floats
    use: Floats


@dataclass(frozen=True, slots=True, eq=False)
class BoxChunk:
    """Queries ``start .. stop`` where prices may be anywhere in a box.

    Attributes
    ----------
    start, stop
        Which queries.
    chosen
        The model of least cost at the centre, shape ``(stop - start,)``.
    settled
        Which queries keep it all over the box.
    cost, use
        Objective, and use of every row ``(K,)``, of the settled queries.
    signature, reference
        Of the others, where asked for: a hash that is the same for queries which no prices in
        the box tell apart, and the lowest model in play, which their differences are taken from.
    spared_cost, spared_use
        Objective, and use of every row, of the others on their `reference`.
    """

    start: int
    stop: int
    chosen: Ints
    settled: Bools
    cost: float
    use: Floats
    signature: Ints
    reference: Ints
    spared_cost: float
    spared_use: Floats


@dataclass(frozen=True, slots=True, eq=False)
class _Family:
    """One family of limits and where its rows begin among all."""

    rows: Rows
    offset: int

    @property
    def part(self) -> slice:
        return slice(self.offset, self.offset + self.rows.n_pools)

    def per_model(self, vector: Floats, m: int) -> Floats:
        """Entries of a ``(K,)`` vector at each model's pool, shape ``(m,)``; 0 for no pool."""
        held = np.append(vector[self.part], 0.0)[self.rows.pool[0]]
        return np.ascontiguousarray(np.broadcast_to(held, (m,)))

    def rows_of(self, m: int) -> Ints:
        """Which of all rows each model uses, shape ``(m,)``; -1 for none."""
        pool = np.broadcast_to(self.rows.pool[0], (m,))
        return np.where(pool >= 0, pool + self.offset, -1)

    def per_pool(self, taken: Floats) -> Floats:
        """Sums over models ``(B, m)`` as sums over pools, shape ``(B, r)``."""
        blocks, r = len(taken), self.rows.n_pools
        place = np.where(
            self.rows.pool[0] >= 0, np.arange(blocks)[:, None] * r + self.rows.pool[0], -1
        )
        place = np.broadcast_to(place, taken.shape)
        return pool_sums(taken.ravel(), place.ravel(), blocks * r).reshape(blocks, r)


@dataclass(frozen=True, eq=False)
class Sweeper:
    """How a problem is swept: its families by the loop that serves them.

    Attributes
    ----------
    problem
        The problem.
    threads
        Most threads of a pass.
    compiled
        Whether compiled passes are used; by default where the table is large.
    """

    problem: RoutingProblem
    threads: int = 1
    compiled: bool | None = None
    _same: tuple[_Family, ...] = field(init=False)
    _dense: _Family | None = field(init=False)
    _query: _Family | None = field(init=False)
    _other: tuple[_Family, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Sort the families."""
        problem = self.problem
        n, m = problem.objective.shape
        same: list[_Family] = []
        other: list[_Family] = []
        dense = query = None
        offset = 0
        for rows in problem.rows:
            family = _Family(rows, offset)
            offset += rows.n_pools
            if rows.pool.shape[0] > 1:
                other.append(family)
            elif rows.usage.shape[0] == 1:
                same.append(family)
            elif dense is None and rows.usage.shape == (n, m) and self._rides_along(rows.usage):
                dense = family
            elif rows.usage.shape[1] == 1 and query is None:
                query = family
            else:
                other.append(family)
        for name, value in (("_same", tuple(same)), ("_dense", dense), ("_query", query)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_other", tuple(other))
        if self.compiled is None:
            object.__setattr__(self, "compiled", n * m >= COMPILED_PAIRS)

    @property
    def riding(self) -> int | None:
        """Which family's usage a compiled pass reads beside the objective, if any."""
        if self._dense is None or not self.compiled:
            return None
        return next(k for k, rows in enumerate(self.problem.rows) if rows is self._dense.rows)

    @cached_property
    def edges(self) -> Ints:
        """Where the chunks of a pass begin and end; they depend on the problem alone."""
        n = self.problem.n_queries
        largest = _EXTRA_CHUNK if self._other or not self.compiled else _CHUNK
        size = min(max(math.ceil(n / _CHUNKS), _SMALL_CHUNK), largest)
        return np.append(np.arange(0, n, size), n)

    def sweep(
        self, prices: Prices, visit: Callable[[Chunk], T], edges: Ints | None = None
    ) -> list[T]:
        """What `visit` gives for every chunk, in order; it may run on several threads at once.

        Parameters
        ----------
        prices
            One array ``(r_k,)`` per family of limits.
        visit
            Called with each `Chunk`.
        edges
            Bounds of the chunks, shape ``(B + 1,)``, if not `Sweeper.edges`.
        """
        one = self._compiled_chunk(prices.vector) if self.compiled else self._plain_chunk(prices)
        return self._map(lambda start, stop: visit(one(start, stop)), edges)

    def sweep_below(
        self,
        prices: Sequence[Prices],
        radius: Floats,
        relative: Floats,
        visit: Callable[[list[LowChunk]], T],
        *,
        route: bool = True,
    ) -> list[T]:
        """The least cost of each query, from below where costs are uncertain, at several prices.

        Parameters
        ----------
        prices
            Of the limits, ``V`` of them; the table is read once for all.
        radius
            How far each price may be off, shape ``(V, K)``: a pair's cost is uncertain by
            ``sum_k radius_k abs(usage_k)`` ...
        relative
            ... and by this part of the size of its objective, shape ``(V,)``.
        visit
            Called with one `LowChunk` for each of the prices.
        route
            Whether chunks need tell more than `LowChunk.low`.
        """
        if self.compiled:
            one = self._compiled_below(prices, radius, relative, route)
        else:
            one = self._plain_below(prices, radius, relative)
        return self._map(lambda start, stop: visit(one(start, stop)), None)

    def sweep_box(
        self,
        prices: Prices,
        radius: Floats,
        margin: float,
        visit: Callable[[BoxChunk], T],
        *,
        sign: bool = False,
    ) -> list[T]:
        """Tell which queries keep their cheapest model all over a box of prices.

        Parameters
        ----------
        prices
            At the centre.
        radius
            Half-widths, shape ``(K,)``.
        margin
            A query is settled where no other model comes nearer than this, in objective units.
        visit
            Called with each `BoxChunk`.
        sign
            Whether to give signatures; needs `signs`.
        """
        if self.compiled:
            one = self._compiled_box(prices.vector, radius, margin, sign)
        else:
            one = self._plain_box(prices, radius, margin)
        return self._map(lambda start, stop: visit(one(start, stop)), None)

    def softener(
        self, prices: Prices, heat: float, reach: float
    ) -> Callable[[Chunk], tuple[float, Floats, Floats, int]]:
        """What softmin in place of min does to a swept `Chunk`; only where passes are compiled.

        Parameters
        ----------
        prices
            Those of the sweep.
        heat
            Of the softmin, in objective units.
        reach
            Only models within so many heats of the cheapest count.

        Returns
        -------
        callable
            Gives the sum of ``log(sum_j exp((best - cost_j) / heat))``, expected use less that
            of the cheapest models ``(K,)``, the covariance of use ``(K, K)``, and how many
            queries have more than one model in reach.
        """
        from dualroute import kernels

        m, k, vector = self.problem.n_models, self.problem.n_rows, prices.vector
        terms = self._terms(vector)
        riding = [family for family in (self._dense, self._query) if family is not None]
        families = (*riding, *self._same)
        row = np.array([family.rows_of(m) for family in families], np.int32).reshape(-1, m)
        each = np.array(
            [np.broadcast_to(f.rows.signed(f.rows.usage[0]), (m,)) for f in self._same], np.float64
        ).reshape(-1, m)
        signs = [1.0 if held is None else held.rows.sign for held in (self._dense, self._query)]

        def one(chunk: Chunk) -> tuple[float, Floats, Floats, int]:
            start, stop = chunk.start, chunk.stop
            extra, _ = self._extras(start, stop, vector, None)
            other_row = np.empty((len(self._other), stop - start, m), np.int32)
            other_use = np.empty((len(self._other), stop - start, m))
            for f, family in enumerate(self._other):
                pool = part_of(family.rows.pool, slice(start, stop))
                other_row[f] = np.where(pool >= 0, pool + family.offset, -1)
                other_use[f] = family.rows.signed(part_of(family.rows.usage, slice(start, stop)))
            moved, curved = np.zeros(k), np.zeros((k, k))
            log_mass, near = kernels.soften(
                start, stop, *terms, extra, chunk.best, chunk.second, chunk.chosen, heat, reach,
                row, each, *signs, other_row, other_use, moved, curved,
            )  # fmt: skip
            return float(log_mass), moved, curved, int(near)

        return one

    @property
    def signs(self) -> bool:
        """Whether queries can be told apart by signatures: no pool depends on the query."""
        return bool(self.compiled) and not self._other

    def use_of(self, assignment: Ints) -> tuple[float, Floats]:
        """Objective and use of every row ``(K,)`` of a routing, in floating point.

        Where `assignment` ``(n,)`` is -1 a query takes nothing.
        """
        cost, use = self.use_by_block(assignment, np.array([0, assignment.size]))
        return float(cost[0]), use[0]

    def use_by_block(self, assignment: Ints, edges: Ints) -> tuple[Floats, Floats]:
        """The same of each block ``edges[k] .. edges[k + 1]``, shapes ``(B,)`` and ``(B, K)``."""
        problem, blocks = self.problem, edges.size - 1
        if not self.compiled:
            routed = np.flatnonzero(assignment >= 0)
            chosen, block = assignment[routed], np.searchsorted(edges, routed, "right") - 1
            cost = entries(problem.objective, routed, chosen)
            use: list[Floats] = [np.empty((blocks, 0))]
            for rows in problem.rows:
                r, pool = rows.n_pools, entries(rows.pool, routed, chosen)
                place = np.where(pool >= 0, block * r + pool, -1)
                taken = rows.taken(routed, chosen)
                use.append(pool_sums(taken, place, blocks * r).reshape(blocks, r))
            return pool_sums(cost, block, blocks), np.concatenate(use, axis=1)
        from dualroute import kernels

        taken = np.zeros((blocks, problem.n_models, 4))
        by_query, table, _, usage, _, load, _ = self._terms(np.zeros(problem.n_rows))
        kernels.take_up(by_query, table, usage, load, assignment, edges.astype(np.intp), taken)
        return taken[:, :, 1].sum(axis=1), self._uses(taken, assignment, edges)

    def _map(self, one: Callable[[int, int], T], edges: Ints | None) -> list[T]:
        bounds = [(int(a), int(b)) for a, b in pairwise(self.edges if edges is None else edges)]
        if self.threads == 1 or len(bounds) == 1 or not self.compiled:
            return [one(start, stop) for start, stop in bounds]
        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(lambda bound: one(*bound), bounds))

    # In numpy: the definition ---------------------------------------------------------------

    def _plain_chunk(self, prices: Prices) -> Callable[[int, int], Chunk]:
        problem = self.problem

        def one(start: int, stop: int) -> Chunk:
            best, second, chosen = _two_least(price_pairs(problem, prices, slice(start, stop)))
            cost = problem.objective[start + np.arange(stop - start), chosen]
            return Chunk(
                start,
                stop,
                best=best,
                second=second,
                chosen=chosen,
                value=float(best.sum()),
                cost=float(cost.sum(dtype=np.float64)),
                use=used_by(problem, chosen, slice(start, stop)),
            )

        return one

    def _plain_below(
        self, prices: Sequence[Prices], radius: Floats, relative: Floats
    ) -> Callable[[int, int], list[LowChunk]]:
        problem = self.problem
        cases = list(zip(prices, map(problem.split, radius), relative.tolist(), strict=True))

        def one(start: int, stop: int) -> list[LowChunk]:
            part = slice(start, stop)
            objective = problem.objective[part].astype(np.float64)
            found = []
            for each, radii, share in cases:
                priced = price_pairs(problem, each, part)
                width = share * np.abs(np.where(np.isfinite(priced), objective, 0.0))
                for rows, wide in zip(problem.rows, radii, strict=True):
                    width += np.abs(rows.charge(wide, part))
                width[~np.isfinite(priced)] = 0.0
                low, second, chosen = _two_least(priced - width)
                cost = objective[np.arange(stop - start), chosen]
                found.append(LowChunk(start, stop, low, second, chosen, cost, _NO_VECTOR))
            return found

        return one

    def _plain_box(
        self, prices: Prices, radius: Floats, margin: float
    ) -> Callable[[int, int], BoxChunk]:
        problem = self.problem

        def one(start: int, stop: int) -> BoxChunk:
            chosen, playing = in_play(problem, prices, radius, margin, slice(start, stop))
            settled = playing.sum(axis=1) == 1
            kept = np.flatnonzero(settled)
            return BoxChunk(
                start,
                stop,
                chosen=chosen,
                settled=settled,
                cost=float(problem.objective[start + kept, chosen[kept]].sum(dtype=np.float64)),
                use=used_by(problem, chosen[kept], start + kept),
                signature=_NOTHING,
                reference=_NOTHING,
                spared_cost=0.0,
                spared_use=np.zeros(problem.n_rows),
            )

        return one

    # Compiled -------------------------------------------------------------------------------

    def _compiled_chunk(self, vector: Floats) -> Callable[[int, int], Chunk]:
        from dualroute import kernels

        m, terms = self.problem.n_models, self._terms(vector)

        def one(start: int, stop: int) -> Chunk:
            extra, _ = self._extras(start, stop, vector, None)
            best, second = np.empty(stop - start), np.empty(stop - start)
            chosen, taken = np.empty(stop - start, np.int32), np.zeros((m, 4))
            value = kernels.sweep(start, stop, *terms, extra, best, second, chosen, taken)
            use = self._use(start, stop, taken, chosen)
            cost = float(taken[:, 1].sum())
            return Chunk(start, stop, best, second, chosen, float(value), cost, use)

        return one

    def _compiled_below(
        self, prices: Sequence[Prices], radius: Floats, relative: Floats, route: bool
    ) -> Callable[[int, int], list[LowChunk]]:
        from dualroute import kernels

        several = len(prices)
        vectors = [each.vector for each in prices]
        by_query, table, _, usage, _, load, _ = self._terms(vectors[0])
        base, charge, rate = self._stacked(vectors)
        widths = self._stacked(list(radius), wide=True)

        def one(start: int, stop: int) -> list[LowChunk]:
            extra = wide_extra = np.empty((0, 0, 0))
            if self._other:
                both = zip(vectors, radius, strict=True)
                extras = [self._extras(start, stop, vector, wide) for vector, wide in both]
                extra, wide_extra = (np.stack(part) for part in zip(*extras, strict=True))
            low = np.empty((several, stop - start))
            seen = low.shape if route else (several, 0)
            second, chosen, cost = np.empty(seen), np.empty(seen, np.int32), np.empty(seen)
            use = np.empty(seen if self._dense is not None else (several, 0))
            kernels.sweep_below(
                start, stop, by_query, table, base, usage, charge, load, rate, extra,
                widths[0], relative, widths[1], widths[2], wide_extra,
                low, second, chosen, cost, use,
            )  # fmt: skip
            each = zip(low, second, chosen, cost, use, strict=True)
            return [LowChunk(start, stop, *arrays) for arrays in each]

        return one

    def _stacked(
        self, vectors: Sequence[Floats], *, wide: bool = False
    ) -> tuple[Floats, Floats, Floats]:
        """What `_terms` gives of ``base``, ``charge`` and ``rate``, for several vectors."""
        terms: list[Any] = [self._terms(vector, wide=wide) for vector in vectors]
        base, charge, rate = (np.stack([term[k] for term in terms]) for k in (2, 4, 6))
        return base, charge, rate

    def _compiled_box(
        self, vector: Floats, radius: Floats, margin: float, sign: bool
    ) -> Callable[[int, int], BoxChunk]:
        from dualroute import kernels

        m, terms, widths = (
            self.problem.n_models,
            self._terms(vector),
            self._terms(radius, wide=True),
        )
        apart, apart_load, shared, reach = self._apart(radius)

        def one(start: int, stop: int) -> BoxChunk:
            extra, wide_extra = self._extras(start, stop, vector, radius)
            size = stop - start
            chosen, settled = np.empty(size, np.int32), np.empty(size, np.bool_)
            taken, spared = np.zeros((m, 4)), np.zeros((m, 4))
            signature = np.empty(size if sign else 0, np.uint64)
            reference = np.empty(size if sign else 0, np.int32)
            kernels.sweep_box(
                start, stop, *terms, extra, apart, widths[4], shared, reach, apart_load,
                wide_extra, margin, chosen, settled, taken, signature, reference, spared,
            )  # fmt: skip
            kept = np.where(settled, chosen, -1) if self._other else chosen
            return BoxChunk(
                start,
                stop,
                chosen=chosen,
                settled=settled,
                cost=float(taken[:, 1].sum()),
                use=self._use(start, stop, taken, kept),
                signature=signature,
                reference=reference,
                spared_cost=float(spared[:, 1].sum()),
                spared_use=self._use(start, stop, spared, kept),
            )

        return one

    def _apart(self, radius: Floats) -> tuple[Floats, Floats, bool, float]:
        """How far a box moves the difference of two models' costs, by the loop that adds it up.

        By what models use whoever asks, ``(m, m)``; per unit of load, ``(m, m)`` or empty;
        whether the dense family is one pool for all models; and its largest use, or where it is,
        its largest difference.
        """
        m = self.problem.n_models
        apart: Floats = np.zeros((m, m))
        apart_load: Floats = _NO_GRID
        for family in self._same:
            apart += _differences(family, np.broadcast_to(family.rows.usage[0], (m,)), radius)
        if self._query is not None:
            apart_load = _differences(self._query, np.ones(m), radius)
        if self._dense is None:
            return apart, apart_load, True, 0.0
        rows = self._dense.rows
        shared = bool(np.ptp(rows.pool) == 0)
        reach = rows.largest - rows.smallest if shared else max(rows.largest, -rows.smallest)
        return apart, apart_load, shared, reach

    def _terms(self, vector: Floats, *, wide: bool = False) -> tuple[object, ...]:
        """Arguments of a kernel that depend on prices or radii, and the tables they go with."""
        objective, m = self.problem.objective, self.problem.n_models
        base = np.zeros(m)
        for family in self._same:
            each = family.rows.signed(family.rows.usage)[0]
            base += family.per_model(vector, m) * (np.abs(each) if wide else each)
        usage: Floats = _NO_GRID.astype(objective.dtype)
        charge: Floats = _NO_VECTOR
        if self._dense is not None:
            usage, charge = self._dense.rows.usage, self._dense.per_model(vector, m)
            usage = usage if self._by_query else usage.T
            charge = charge if wide else self._dense.rows.signed(charge)
        usage = read_only(usage)
        load: Floats = _NO_VECTOR
        rate: Floats = _NO_VECTOR
        if self._query is not None:
            load, rate = self._loads, self._query.per_model(vector, m)
            rate = rate if wide else self._query.rows.signed(rate)
        table = objective if self._by_query else objective.T
        return self._by_query, table, base, usage, charge, load, rate

    @property
    def _by_query(self) -> bool:
        """Whether the table is stored query by query rather than model by model."""
        flags = self.problem.objective.flags
        return bool(flags.c_contiguous or not flags.f_contiguous)

    def _rides_along(self, usage: Floats) -> bool:
        """Whether a dense family can share the objective's loop: stored the same way."""
        flags = usage.flags
        return bool(flags.c_contiguous if self._by_query else flags.f_contiguous)

    @cached_property
    def _loads(self) -> Floats:
        assert self._query is not None
        return self._query.rows.usage[:, 0].astype(np.float64)

    def _extras(
        self, start: int, stop: int, vector: Floats, radius: Floats | None
    ) -> tuple[Floats, Floats]:
        """Charges, and uncertainty, of the families with a loop of their own."""
        if not self._other:
            return _NO_GRID, _NO_GRID
        from dualroute import kernels

        extra = np.zeros((stop - start, self.problem.n_models))
        wide = np.zeros_like(extra) if radius is not None else _NO_GRID
        for family in self._other:
            price = family.rows.signed(vector[family.part])
            each = _NO_VECTOR if radius is None else radius[family.part]
            kernels.add_charges(start, stop, *self._whole(family.rows), price, each, extra, wide)
        return extra, wide

    def _use(self, start: int, stop: int, taken: Floats, chosen: Ints) -> Floats:
        """Use of every row from the sums per model ``(m, 4)`` that a kernel left, ``(K,)``."""
        use: Floats = self._uses(taken[None], chosen, np.array([start, stop]))[0]
        return use

    def _uses(self, taken: Floats, chosen: Ints, edges: Ints) -> Floats:
        """The same for blocks of queries, from ``(B, m, 4)`` to ``(B, K)``."""
        from dualroute import kernels

        m, use = self.problem.n_models, np.empty((len(taken), self.problem.n_rows))
        for family in self._same:
            each = np.broadcast_to(family.rows.signed(family.rows.usage)[0], (m,))
            use[:, family.part] = family.per_pool(taken[:, :, 0] * each)
        for column, held in ((2, self._dense), (3, self._query)):
            if held is not None:
                use[:, held.part] = held.per_pool(held.rows.signed(taken[:, :, column]))
        for family in self._other:
            used = np.zeros((len(taken), family.rows.n_pools))
            for k, (start, stop) in enumerate(pairwise(edges.tolist())):
                part = chosen[start - edges[0] : stop - edges[0]]
                kernels.add_use(start, stop, *self._whole(family.rows), part, used[k])
            use[:, family.part] = family.rows.signed(used)
        return use

    def _whole(self, rows: Rows) -> tuple[Floats, Ints]:
        shape = self.problem.objective.shape
        return np.broadcast_to(rows.usage, shape), np.broadcast_to(rows.pool, shape)


def in_play(
    problem: RoutingProblem,
    prices: Prices,
    radius: Floats,
    margin: float,
    part: slice | Ints,
) -> tuple[Ints, Bools]:
    r"""Which models may be the cheapest of some queries, or nearly so, in a box of prices.

    Model ``j`` is, unless :math:`c_j - c_* - \sum_k r_k |u_{kj} - u_{k*}|` exceeds `margin`, with
    ``c`` the costs at the centre and ``r`` the half-widths of the box.

    Returns
    -------
    tuple of numpy.ndarray
        The cheapest model at the centre, shape ``(b,)``; which models are in play, ``(b, m)``.
    """
    priced = price_pairs(problem, prices, part)
    chosen = priced.argmin(axis=1)
    lines, shape = np.arange(chosen.size), priced.shape
    best = priced[lines, chosen][:, None]
    with np.errstate(invalid="ignore"):
        gap = priced - best - _HAIR * (np.abs(priced) + np.abs(best))
    for rows, each in zip(problem.rows, problem.split(radius), strict=True):
        usage = np.broadcast_to(part_of(rows.usage, part), shape).astype(np.float64)
        pool = np.broadcast_to(part_of(rows.pool, part), shape)
        wide = np.append(each, 0.0)[pool]
        own, home = usage[lines, chosen][:, None], pool[lines, chosen][:, None]
        across = wide * np.abs(usage) + wide[lines, chosen][:, None] * np.abs(own)
        gap -= np.where(pool == home, wide * np.abs(usage - own), across)
    playing = np.isfinite(priced) & (gap <= margin)
    playing[lines, chosen] = True
    return chosen, playing


def _two_least(priced: Floats) -> tuple[Floats, Floats, Ints]:
    """The least and the next of each line, and where the least is; lines are overwritten."""
    lines, chosen = np.arange(len(priced)), priced.argmin(axis=1)
    best = priced[lines, chosen]
    priced[lines, chosen] = np.inf
    return best, priced.min(axis=1), chosen


def _differences(family: _Family, use: Floats, radius: Floats) -> Floats:
    """How far a box moves the difference of what two models pay for this use, ``(m, m)``."""
    m = use.size
    wide = family.per_model(radius, m)
    pool = np.broadcast_to(family.rows.pool[0], (m,))
    across = np.add.outer(wide * np.abs(use), wide * np.abs(use))
    within: Floats = wide[:, None] * np.abs(np.subtract.outer(use, use))
    return np.where(np.equal.outer(pool, pool), within, across)


def used_by(problem: RoutingProblem, chosen: Ints, part: slice | Ints) -> Floats:
    """Use of every row by some queries on their `chosen` models, in floating point, ``(K,)``."""
    lines = np.arange(chosen.size)
    used: list[Floats] = [np.empty(0)]
    for rows in problem.rows:
        usage = np.broadcast_to(part_of(rows.usage, part), (chosen.size, problem.n_models))
        pool = np.broadcast_to(part_of(rows.pool, part), (chosen.size, problem.n_models))
        taken = rows.signed(usage[lines, chosen])
        used.append(pool_sums(taken, pool[lines, chosen], rows.n_pools))
    return np.concatenate(used)


def total(chunks: Sequence[Floats]) -> Floats:
    """Sum of arrays in the order given, so that threads change no digit."""
    summed: Floats = np.sum(np.stack(chunks), axis=0)
    return summed
