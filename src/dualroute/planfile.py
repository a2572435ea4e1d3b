"""Plans on disk: a routing as a table, or routing and prices together as JSON."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from dualroute.arrays import Ints
from dualroute.errors import TableError
from dualroute.outcomes import Outcomes
from dualroute.problem import Prices, RoutingProblem
from dualroute.routing import Plan
from dualroute.tables import write_atomically, write_routing

_FORMAT = "dualroute plan"
_VERSION = 1
_SUFFIXES = (".csv", ".csv.gz", ".parquet", ".json")


def check_suffix(path: str) -> None:
    """Raise `TableError` unless a plan can be written under this name."""
    if not path.lower().endswith(_SUFFIXES):
        raise TableError(f"{path}: a plan is written as {', '.join(_SUFFIXES)}; choose one")


def write_plan(path: str, plan: Plan) -> None:
    """Write a plan's routing; as JSON, its prices too. All of it or nothing.

    Raises
    ------
    TableError
        If the name has another suffix, or the file cannot be written.
    """
    check_suffix(path)
    if not path.lower().endswith(".json"):
        write_routing(path, plan.outcomes.queries, plan.routed)
        return
    prices = plan.solution.prices
    content = {
        "format": _FORMAT,
        "version": _VERSION,
        "verdict": plan.certificate.verdict,
        "routing": dict(
            zip(map(str, plan.outcomes.queries.tolist()), plan.routed.tolist(), strict=True)
        ),
        "prices": None
        if prices is None
        else {
            rows.name: values.tolist()
            for rows, values in zip(plan.problem.rows, prices.values, strict=True)
        },
    }
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    write_atomically(path, lambda target: target.write_text(text, encoding="utf-8"))


def is_plan_file(path: str) -> bool:
    """Whether a file is meant to be a JSON plan, by its name."""
    return path.lower().endswith(".json")


def read_plan(path: str, outcomes: Outcomes, problem: RoutingProblem) -> tuple[Ints, Prices | None]:
    """Routing, shape ``(n,)``, and prices of a JSON plan, for these outcomes and limits.

    Prices come back only where the plan has them for every limit of the problem.

    Raises
    ------
    TableError
        If the file is no such plan, or routes other queries or models than the table's.
    """
    content = _content(path)
    routing = content["routing"]
    index = {name: j for j, name in enumerate(outcomes.models)}
    names = list(map(str, outcomes.queries.tolist()))
    missing = [name for name in names if name not in routing]
    if missing:
        raise TableError(
            f"{path}: {len(missing)} of {len(names)} queries are not routed (first: "
            f"{missing[0]!r}); route every query of the table"
        )
    if len(routing) > len(names):
        known = set(names)
        strange = next(name for name in routing if name not in known)
        raise TableError(f"{path}: routes query {strange!r}, which the table does not have")
    unknown = next((name for name in names if routing[name] not in index), None)
    if unknown is not None:
        raise TableError(
            f"{path}: query {unknown!r} goes to model {routing[unknown]!r}, which the table does "
            "not have"
        )
    assignment = np.array([index[routing[name]] for name in names], np.intp)
    held = content.get("prices") or {}
    values = [np.asarray(held.get(rows.name, ()), np.float64) for rows in problem.rows]
    fits = [v.shape == (rows.n_pools,) for v, rows in zip(values, problem.rows, strict=True)]
    return assignment, Prices(tuple(values)) if held and all(fits) else None


def _are_prices(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(p, int | float) and not isinstance(p, bool) and 0 <= p <= 1e100 for p in values
    )


def _content(path: str) -> dict[str, Any]:
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror}); check the name") from None
    except (ValueError, RecursionError) as error:
        raise TableError(
            f"{path}: not valid JSON ({error}); give a plan written by --out"
        ) from None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise TableError(f"{path}: no plan of dualroute's; give one written by --out, or a table")
    if content.get("version") != _VERSION or isinstance(content["version"], bool):
        raise TableError(
            f"{path}: plan version {content.get('version')!r}; this program reads {_VERSION}"
        )
    routing, prices = content.get("routing"), content.get("prices") or {}
    if not isinstance(routing, dict) or not all(isinstance(m, str) for m in routing.values()):
        raise TableError(f"{path}: the plan holds no routing; write it again with --out")
    if not isinstance(prices, dict) or not all(map(_are_prices, prices.values())):
        raise TableError(f"{path}: the plan's prices are no lists of numbers of at least 0")
    return content
