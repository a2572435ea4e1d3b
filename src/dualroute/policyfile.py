"""Policies on disk: one small JSON file that any language can read."""

import json
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from dualroute.arrays import Floats
from dualroute.errors import PolicyError, RoutingError
from dualroute.policy import Account, Policy
from dualroute.tables import write_atomically

_FORMAT = "dualroute policy"
_VERSION = 1


def write_policy(path: str | Path, policy: Policy) -> None:
    """Write a policy as JSON, all of it or nothing.

    The file holds models, terms of the objective, and of every limit the column its use is read
    from, the pool of every model, and limit, price, gain and least of every pool in the user's
    sense (a floor of 80 is 80): docs/online.md says how to route with it.

    Raises
    ------
    TableError
        If the file cannot be written.
    """
    content = {
        "format": _FORMAT,
        "version": _VERSION,
        "models": list(policy.models),
        "objective": {
            "sense": "maximize" if policy.maximize else "minimize",
            "terms": {
                name: (-weight if policy.maximize else weight) + 0.0
                for name, weight in policy.terms.items()
            },
        },
        "limits": [_limit(account) for account in policy.accounts],
        "horizon": policy.horizon,
        "span_seconds": policy.span,
        "update": policy.update,
        "step": policy.step,
        "reserve": policy.reserve,
        "restricted": policy.restricted,
        "verdict": policy.verdict,
    }
    data = (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()
    write_atomically(path, lambda target: target.write_bytes(data))


def _limit(account: Account) -> dict[str, Any]:
    sign = account.sign
    return {
        "name": account.name,
        "column": account.column or None,
        "relation": ">=" if account.at_least else "<=",
        "unit": account.unit,
        "labels": list(account.labels),
        "pool_of_model": account.pool.tolist(),
        "limit": (sign * account.limit + 0.0).tolist(),
        "price": account.price.tolist(),
        "gain": account.gain.tolist(),
        "least": (sign * account.least + 0.0).tolist(),
    }


def read_policy(path: str | Path) -> Policy:
    """Read a policy that `write_policy` wrote.

    Raises
    ------
    PolicyError
        If the file cannot be read, is no policy, is of a newer version, or lacks something; the
        message names the file and the field.
    """
    try:
        content = json.loads(Path(path).read_bytes().decode("utf-8"))
    except OSError as error:
        raise PolicyError(f"{path}: cannot be read ({error.strerror}); check the name") from None
    except (ValueError, RecursionError) as error:
        raise PolicyError(f"{path}: not valid JSON ({error}); write the policy again") from None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise PolicyError(f"{path}: no policy of dualroute's; give one that write_policy wrote")
    version = content.get("version")
    if type(version) is not int or version < 1:
        raise PolicyError(f"{path}: policy version {version!r}; write the policy again")
    if version > _VERSION:
        raise PolicyError(
            f"{path}: policy version {version}, and this program reads up to {_VERSION}; update "
            "dualroute, or write the policy again with this one"
        )
    try:
        return _policy(content)
    except RoutingError as error:
        raise PolicyError(f"{path}: {error}") from None


def _policy(content: dict[str, Any]) -> Policy:
    objective = _get(content, "objective", dict)
    sense = _get(objective, "sense", str)
    if sense not in ("minimize", "maximize"):
        raise PolicyError(f"field 'sense' is {sense!r}; it is minimize or maximize")
    sign = -1.0 if sense == "maximize" else 1.0
    terms = _get(objective, "terms", dict)
    span = content.get("span_seconds")
    return Policy(
        models=tuple(_texts(content, "models")),
        terms={name: sign * _number(terms, name) for name in terms},
        accounts=tuple(_account(entry) for entry in _get(content, "limits", list)),
        horizon=_number(content, "horizon"),
        span=None if span is None else _number(content, "span_seconds"),
        update=_get(content, "update", str),
        step=_number(content, "step"),
        reserve=_get(content, "reserve", bool),
        restricted=_get(content, "restricted", bool),
        maximize=sense == "maximize",
        verdict=_get(content, "verdict", str),
    )


def _account(entry: Any) -> Account:
    if not isinstance(entry, dict):
        raise PolicyError(f"a limit is {entry!r}; it holds a name, a column and numbers")
    relation = _get(entry, "relation", str)
    if relation not in ("<=", ">="):
        raise PolicyError(f"field 'relation' is {relation!r}; it is <= or >=")
    sign = -1.0 if relation == ">=" else 1.0
    pools = _get(entry, "pool_of_model", list)
    if not all(type(pool) is int and abs(pool) < 2**31 for pool in pools):
        raise PolicyError("field 'pool_of_model' holds something other than numbers of pools")
    column = entry.get("column")
    return Account(
        name=_get(entry, "name", str),
        column="" if column is None else _get(entry, "column", str),
        at_least=relation == ">=",
        pool=np.array(pools, np.intp),
        limit=sign * _numbers(entry, "limit"),
        price=_numbers(entry, "price"),
        gain=_numbers(entry, "gain"),
        least=sign * _numbers(entry, "least"),
        labels=tuple(_texts(entry, "labels")),
        unit=_get(entry, "unit", str),
    )


def _get(content: dict[str, Any], name: str, kind: type) -> Any:
    if not isinstance(content.get(name), kind):
        found = repr(content[name]) if name in content else "nothing"
        raise PolicyError(f"field {name!r} is {found[:60]}; write the policy again")
    return content[name]


def _number(content: dict[str, Any], name: str) -> float:
    value, number = content.get(name), math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        with suppress(OverflowError):
            number = float(value)
    if not math.isfinite(number):
        raise PolicyError(f"field {name!r} is {repr(value)[:60]}; it is a finite number")
    return number


def _numbers(content: dict[str, Any], name: str) -> Floats:
    values = _get(content, name, list)
    return np.array([_number({name: value}, name) for value in values], np.float64)


def _texts(content: dict[str, Any], name: str) -> list[str]:
    values: list[str] = _get(content, name, list)
    if not all(isinstance(value, str) for value in values):
        raise PolicyError(f"field {name!r} holds something other than texts")
    return values
