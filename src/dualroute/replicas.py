"""Capacity that is bought in whole units, and the traffic it is for."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from dualroute.errors import OptionError, TableError
from dualroute.outcomes import Outcomes
from dualroute.tomlfile import read_toml


@dataclass(frozen=True, slots=True)
class Replicas:
    """Capacity of one model that is bought in whole units.

    Attributes
    ----------
    model
        Its name in the table.
    size
        What one replica takes in one period, in requests or in the unit of `column`.
    price
        Of one replica for one period, in the unit of the objective.
    most, least
        Replicas at most, and at least, in every period.
    column
        What a request takes of the capacity (tokens, GPU-seconds); counts requests when not
        given.
    gpus
        What one replica needs of a pool shared by all models.
    opening
        Paid once in every period in which any replica runs.
    switching
        Paid for every replica started or stopped between two periods.
    running
        Replicas that run before the first period; None if starting them costs nothing then.
    """

    model: str
    size: float
    price: float
    most: int
    least: int = 0
    column: str | None = None
    gpus: float = 0.0
    opening: float = 0.0
    switching: float = 0.0
    running: int | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not (self.size > 0 and math.isfinite(self.size)):
            raise OptionError(
                f"replicas of {self.model!r}: size is {self.size:g}; give what one replica takes "
                "in a period, above 0"
            )
        for name in ("price", "gpus", "opening", "switching"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                raise OptionError(
                    f"replicas of {self.model!r}: {name} is {value:g}; give a number of at least 0"
                )
        counts = (self.least, self.most, 0 if self.running is None else self.running)
        if any(not isinstance(count, int | np.integer) or count < 0 for count in counts):
            raise OptionError(
                f"replicas of {self.model!r}: least, most and running are {counts}; give whole "
                "numbers of at least 0"
            )
        if self.least > self.most:
            raise OptionError(
                f"replicas of {self.model!r}: at least {self.least} and at most {self.most}; no "
                "count is between"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Traffic:
    """What one period brings, in one scenario.

    Attributes
    ----------
    period
        Its name; periods follow each other as they first appear.
    outcomes
        Queries with predicted (or observed) outcomes.
    scenario
        Name of the scenario; periods of one name share their replicas in all scenarios.
    weight
        Queries that each row stands for: 100 for a sample of one in a hundred.
    """

    period: str
    outcomes: Outcomes
    scenario: str = ""
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Check the weight."""
        if not (self.weight > 0 and math.isfinite(self.weight)):
            raise OptionError(
                f"period {self.period!r}: weight is {self.weight:g}; give the queries that a row "
                "stands for, above 0"
            )


def traffic_by(
    outcomes: Outcomes, period: str, scenario: str | None = None, *, weight: float = 1.0
) -> list[Traffic]:
    """Divide a log by the attributes that name period and scenario.

    Parameters
    ----------
    outcomes
        All queries.
    period, scenario
        Attributes, such as ``hour`` and ``day``; numbers are put in their order, other names as
        they first appear.
    weight
        As in `Traffic`.

    Raises
    ------
    TableError
        If an attribute is missing, or a period has no queries in some scenario.
    """
    labels = outcomes.attribute(period)
    named = np.full(outcomes.n_queries, "") if scenario is None else outcomes.attribute(scenario)
    periods, scenarios = _in_order(labels), _in_order(named)
    parts = []
    for which in scenarios:
        for one in periods:
            rows = np.flatnonzero((labels == one) & (named == which))
            if rows.size == 0:
                where = f" in {scenario} {which}" if scenario is not None else ""
                raise TableError(
                    f"{period} {one} has no queries{where}; leave it out, or give it traffic"
                )
            parts.append(Traffic(str(one), outcomes.take(rows), str(which), weight))
    return parts


@dataclass(frozen=True, slots=True)
class ReplicaFile:
    """What a file of replicas asks for: the arguments of `plan_replicas` that go with them."""

    replicas: tuple[Replicas, ...]
    gpus: float | None = None
    constant: bool = False
    probabilities: Mapping[str, float] | None = None


def read_replicas(path: str | Path) -> ReplicaFile:
    """Replicas from a TOML file: one ``[[replicas]]`` table per model.

    Beside these ``gpus``, ``constant`` and a table ``[probabilities]``, as in `plan_replicas`.

    Raises
    ------
    TableError
        Naming the file, and the entry and field that cannot be used.
    """
    content = read_toml(path)
    entries = content.pop("replicas", None)
    if not isinstance(entries, list) or not entries:
        raise TableError(f"{path}: no [[replicas]]; write one such table per model")
    known = [one.name for one in fields(Replicas)]
    made = []
    for k, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict):
            raise TableError(f"{path}, replicas {k}: found {entry!r}; write a [[replicas]] table")
        strange = [name for name in entry if name not in known]
        missing = [name for name in ("model", "size", "price", "most") if name not in entry]
        if strange or missing:
            found = f"unknown field {strange[0]!r}" if strange else f"no field {missing[0]!r}"
            raise TableError(f"{path}, replicas {k}: {found}; the fields are {', '.join(known)}")
        try:
            made.append(Replicas(**entry))
        except (OptionError, TypeError, ValueError) as error:
            raise TableError(f"{path}, replicas {k}: {error}") from None
    strange = [name for name in content if name not in ("gpus", "constant", "probabilities")]
    if strange:
        raise TableError(
            f"{path}: unknown {strange[0]!r}; beside [[replicas]] there are gpus, constant and "
            "[probabilities]"
        )
    chances = content.get("probabilities", {})
    fine = {
        "gpus": type(content.get("gpus", 0)) in (int, float),
        "constant": isinstance(content.get("constant", False), bool),
        "probabilities": isinstance(chances, dict)
        and all(type(chance) in (int, float) for chance in chances.values()),
    }
    for name in (name for name, holds in fine.items() if not holds):
        raise TableError(
            f"{path}: {name} is {content[name]!r}; gpus is a number, constant true or false, and "
            "[probabilities] a number for each scenario"
        )
    return ReplicaFile(tuple(made), **content)


def _in_order(labels: Any) -> list[Any]:
    distinct = list(dict.fromkeys(labels.tolist()))
    try:
        return sorted(distinct, key=float)
    except (TypeError, ValueError):
        return distinct
