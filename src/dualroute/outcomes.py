"""Outcomes: what every model does with every query, predicted or observed.

The value where predictors and solvers meet. A column is a grid of numbers that broadcasts to
``(n, m)``; an attribute (tenant, hour) belongs to the query alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from dualroute.arrays import Floats, Ints, Labels, read_only
from dualroute.errors import TableError


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """A table of ``n`` queries by ``m`` models.

    Attributes
    ----------
    models
        ``m`` distinct names.
    columns
        Name to grid, each ``(n, m)`` or, where a number does not depend on the model or on
        the query, ``(n, 1)`` or ``(1, m)``; float32 or float64.
    queries
        ``n`` labels of any type; ``0 .. n-1`` when not given. Tables read from files hold each
        once; a resample may hold one several times.
    attributes
        Name to array ``(n,)``: what a query belongs to, for limits per group.
    cost, quality
        Which columns play these two roles; cost is finite and non-negative, quality lies in
        ``[0, 1]``.

    Raises
    ------
    TableError
        Naming the column, the query and the model of the first value that cannot be used.
    """

    models: tuple[str, ...]
    columns: Mapping[str, Floats]
    queries: Labels = field(default_factory=lambda: np.empty(0))
    attributes: Mapping[str, Labels] = field(default_factory=dict)
    cost: str = "cost"
    quality: str = "quality"

    def __post_init__(self) -> None:
        """Validate, and freeze the arrays."""
        m = len(self.models)
        if not self.columns or m == 0:
            raise TableError("a table of outcomes needs at least one model and one column")
        if len(set(self.models)) < m:
            twice = next(name for name in self.models if self.models.count(name) > 1)
            raise TableError(f"model {twice!r} is named twice; give every model its own name")
        grids = {name: as_grid(values, name) for name, values in self.columns.items()}
        n = max(grid.shape[0] for grid in grids.values())
        queries = np.asarray(self.queries)
        if queries.size == 0:
            queries = np.arange(n)
        n = max(n, queries.size)
        if queries.shape != (n,):
            raise TableError(f"{queries.size} query labels for {n} queries; give one each")
        for name, grid in grids.items():
            if grid.shape[0] not in (1, n) or grid.shape[1] not in (1, m):
                raise TableError(
                    f"column {name!r} has shape {grid.shape}, which does not fit "
                    f"{n} queries x {m} models"
                )
        attributes = {name: np.asarray(values) for name, values in self.attributes.items()}
        for name, values in attributes.items():
            if values.shape != (n,):
                raise TableError(
                    f"attribute {name!r} has shape {values.shape}; give one value for each of "
                    f"the {n} queries"
                )
        put = object.__setattr__
        put(self, "columns", {name: read_only(grid) for name, grid in grids.items()})
        put(self, "queries", read_only(queries))
        put(self, "attributes", {name: read_only(a) for name, a in attributes.items()})
        for name, grid in self.columns.items():
            self._check(name, grid)

    def _check(self, name: str, grid: Floats) -> None:
        # min and max carry NaN and need no temporary of the table's size.
        low, high = float(grid.min()), float(grid.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise TableError(self._found(name, grid, ~np.isfinite(grid), "give a finite number"))
        if name == self.cost and low < 0:
            raise TableError(self._found(name, grid, grid < 0, "a cost cannot be negative"))
        if name == self.quality and (low < 0 or high > 1):
            mend = "a quality lies in [0, 1]; divide percentages by 100"
            raise TableError(self._found(name, grid, (grid < 0) | (grid > 1), mend))

    def _found(self, name: str, grid: Floats, bad: Any, mend: str) -> str:
        i, j = (int(k) for k in np.argwhere(bad)[0])
        query = f"query {self.queries[i]}" if grid.shape[0] > 1 else "every query"
        model = f"model {self.models[j]!r}" if grid.shape[1] > 1 else "every model"
        return f"column {name!r}, {query}, {model}: found {grid[i, j]:g}; {mend}"

    @classmethod
    def from_arrays(
        cls,
        cost: ArrayLike,
        quality: ArrayLike,
        models: Sequence[str] = (),
        *,
        columns: Mapping[str, ArrayLike] | None = None,
        queries: ArrayLike = (),
        attributes: Mapping[str, ArrayLike] | None = None,
    ) -> "Outcomes":
        """Outcomes from two arrays ``(n, m)``; models are called ``m0, m1, ..`` if unnamed."""
        named = {"cost": cost, "quality": quality, **(columns or {})}
        grids = {name: as_grid(values, name) for name, values in named.items()}
        m = max(grid.shape[1] for grid in grids.values())
        return cls(
            models=tuple(models) or tuple(f"m{j}" for j in range(m)),
            columns=grids,
            queries=np.asarray(queries),
            attributes={k: np.asarray(v) for k, v in (attributes or {}).items()},
        )

    @property
    def n_queries(self) -> int:
        """Number of queries, ``n``."""
        return int(self.queries.size)

    @property
    def n_models(self) -> int:
        """Number of models, ``m``."""
        return len(self.models)

    def name_of(self, column: str) -> str:
        """The table's own name of a column; ``cost`` and ``quality`` also name the roles."""
        if column in self.columns:
            return column
        role = {"cost": self.cost, "quality": self.quality}.get(column, column)
        if role in self.columns:
            return role
        raise TableError(
            f"no column {column!r}; the table has {', '.join(map(repr, self.columns))}"
        )

    def column(self, name: str) -> Floats:
        """The grid of a column, by its name or its role.

        Raises
        ------
        TableError
            If the table has no such column.
        """
        return self.columns[self.name_of(name)]

    def attribute(self, name: str) -> Labels:
        """One label per query, shape ``(n,)``.

        Raises
        ------
        TableError
            If the table has no such attribute.
        """
        if name not in self.attributes:
            known = ", ".join(map(repr, self.attributes)) or "none"
            raise TableError(f"no attribute {name!r} to group queries by; the table has {known}")
        return self.attributes[name]

    def model_index(self, name: str) -> int:
        """Position of a model.

        Raises
        ------
        TableError
            If there is no such model; the message names the closest ones.
        """
        if name not in self.models:
            import difflib

            close = difflib.get_close_matches(name, self.models, 3, 0.4) or self.models[:5]
            raise TableError(f"no model {name!r} in the table; did you mean {', '.join(close)}?")
        return self.models.index(name)

    def take(self, queries: Ints) -> "Outcomes":
        """The rows of some queries, in the order given."""
        return replace(
            self,
            columns={k: v if v.shape[0] == 1 else v[queries] for k, v in self.columns.items()},
            queries=self.queries[queries],
            attributes={k: v[queries] for k, v in self.attributes.items()},
        )


def as_grid(values: ArrayLike, name: str) -> Floats:
    """Numbers as a two-dimensional float32 or float64 array.

    Raises
    ------
    TableError
        If they are no numbers, or not two-dimensional.
    """
    try:
        grid = np.asarray(values)
        if grid.dtype not in (np.float32, np.float64):
            grid = grid.astype(np.float64)
    except (TypeError, ValueError):
        raise TableError(f"column {name!r} holds values that are no numbers") from None
    if grid.ndim != 2 or grid.size == 0:
        raise TableError(
            f"column {name!r} has shape {grid.shape}; give queries x models, at least one of each"
        )
    return grid
