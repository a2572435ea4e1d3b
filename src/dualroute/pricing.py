"""Prices per token from maintained lists, and what a query costs by them."""

import csv
import difflib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from dualroute.arrays import Floats
from dualroute.errors import MissingDependencyError, TableError

_MILLION = 1e6
_INPUT = ("price_in_usd_per_mtok", "input_usd_per_mtok", "input")
_OUTPUT = ("price_out_usd_per_mtok", "output_usd_per_mtok", "output")


@dataclass(frozen=True, slots=True, eq=False)
class TokenPrices:
    """What the tokens of some models cost.

    Attributes
    ----------
    models
        ``m`` names.
    input, output
        Shape ``(m,)``, in USD per million tokens; finite and not negative.
    source
        The list they come from, with its version.
    date
        Day of the list's newest price that is in force, as ``2026-11-25``; empty if not told.
    """

    models: tuple[str, ...]
    input: Floats
    output: Floats
    source: str
    date: str = ""

    def __post_init__(self) -> None:
        """Check that every model has two usable prices."""
        for name in ("input", "output"):
            prices = np.asarray(getattr(self, name), np.float64)
            if prices.shape != (len(self.models),):
                raise TableError(f"{prices.size} {name} prices for {len(self.models)} models")
            bad = ~(np.isfinite(prices) & (prices >= 0))
            if bad.any():
                j = int(np.flatnonzero(bad)[0])
                raise TableError(
                    f"{self.source}: the {name} price of {self.models[j]!r} is {prices[j]:g}; "
                    "give USD per million tokens, 0 or more"
                )
            object.__setattr__(self, name, prices)

    def take(self, models: Sequence[str]) -> "TokenPrices":
        """The prices of some models, in their order.

        Raises
        ------
        TableError
            If a model has no price; the message names the closest that have.
        """
        place = {name: j for j, name in enumerate(self.models)}
        for name in models:
            if name not in place:
                raise TableError(_unpriced(name, self.source, self.models))
        rows = [place[name] for name in models]
        return TokenPrices(
            tuple(models), self.input[rows], self.output[rows], self.source, self.date
        )

    def cost(self, input_tokens: Floats, output_tokens: Floats) -> Floats:
        """USD of tokens in and out, two grids that broadcast to ``(n, m)``."""
        cost: Floats = (
            input_tokens.astype(np.float64) * self.input
            + output_tokens.astype(np.float64) * self.output
        ) / _MILLION
        return cost

    @property
    def words(self) -> str:
        """The source with its date, for a report."""
        return f"{self.source}, {self.date}" if self.date else self.source


def token_prices(source: str, models: Sequence[str]) -> TokenPrices:
    """Prices of some models from ``"genai-prices"``, ``"litellm"``, or a file.

    Raises
    ------
    TableError
        If a model has no price there, or the file cannot be used.
    MissingDependencyError
        If the package that holds the list is absent.
    """
    if source == "genai-prices":
        return genai_prices(models)
    if source == "litellm":
        return litellm_prices(models)
    return read_token_prices(source).take(models)


def read_token_prices(path: str | Path) -> TokenPrices:
    """Prices from a CSV: ``model``, one column of input and one of output prices.

    The price columns are called ``price_in_usd_per_mtok`` and ``price_out_usd_per_mtok``, or
    ``input`` and ``output``; a column ``date`` tells the list's date. A ``.json`` file is read as
    litellm's table.

    Raises
    ------
    TableError
        Naming the file, and the line or column that cannot be used.
    """
    if str(path).lower().endswith(".json"):
        table = _litellm_table(path)
        return _from_litellm(table, [name for name in table if _priced(table[name])], str(path), "")
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise TableError(f"{path}: cannot be read ({reason}); check the name") from None
    if not lines:
        raise TableError(f"{path}: holds no prices; write a line for each model")
    found = [name for name in lines[0] if name is not None]
    columns = [
        next((name for name in names if name in found), None)
        for names in (("model",), _INPUT, _OUTPUT)
    ]
    if None in columns:
        raise TableError(
            f"{path}: has the columns {', '.join(found)}; a price list has model, {_INPUT[0]} and "
            f"{_OUTPUT[0]}"
        )
    prices = np.empty((len(lines), 2))
    for k, line in enumerate(lines):
        for column, name in enumerate(columns[1:]):
            try:
                prices[k, column] = float(line[str(name)])
            except (TypeError, ValueError):
                raise TableError(
                    f"{path}, line {k + 2}, column {name!r}: found {line[str(name)]!r}; give a "
                    "number"
                ) from None
    dates = sorted({str(line.get("date") or "") for line in lines})
    return TokenPrices(
        tuple(str(line["model"]) for line in lines),
        prices[:, 0],
        prices[:, 1],
        str(path),
        dates[-1],
    )


def genai_prices(models: Sequence[str], on: date | None = None) -> TokenPrices:
    """Prices from the list in the package genai-prices; nothing is asked of the network.

    Parameters
    ----------
    models
        Names as providers write them; ``provider/model`` where the name alone tells no provider.
    on
        The day the prices are of, today if not given.

    Raises
    ------
    TableError
        If a model is not in the list.
    MissingDependencyError
        If the package is absent.
    """
    try:
        from genai_prices.data_snapshot import get_snapshot
    except ImportError as error:
        raise MissingDependencyError(
            f"{error.name} is not installed; pip install 'dualroute[prices]'"
        ) from None
    day = on or datetime.now(UTC).date()
    moment = datetime(day.year, day.month, day.day, tzinfo=UTC)
    held = get_snapshot()
    source = f"genai-prices {version('genai-prices')}"
    found = []
    for name in models:
        listed = _listed(held, name)
        if listed is None:
            known = [one.id for provider in held.providers for one in provider.models]
            raise TableError(_unpriced(name, source, known))
        price = listed.get_prices(moment)
        found.append([_base(price.input_mtok), _base(price.output_mtok)])
    starts = [
        price.constraint.start_date
        for provider in held.providers
        for one in provider.models
        for price in (one.prices if isinstance(one.prices, list) else [])
        if hasattr(price.constraint, "start_date")
    ]
    newest = max((start for start in starts if start <= day), default=None)
    prices = np.array(found, np.float64).reshape(-1, 2)
    return TokenPrices(
        tuple(models), prices[:, 0], prices[:, 1], source, newest.isoformat() if newest else ""
    )


def litellm_prices(models: Sequence[str], path: str | Path | None = None) -> TokenPrices:
    """Prices from litellm's table, without importing litellm.

    Parameters
    ----------
    models
        Names as litellm writes them.
    path
        Its JSON file; that of the installed package if not given.

    Raises
    ------
    TableError
        If a model has no price there, or the file cannot be used.
    MissingDependencyError
        If the package is absent.
    """
    source = str(path)
    if path is None:
        spec = find_spec("litellm")
        if spec is None or spec.origin is None:
            raise MissingDependencyError("litellm is not installed; pip install litellm")
        path = Path(spec.origin).parent / "model_prices_and_context_window_backup.json"
        source = f"litellm {version('litellm')}"
    return _from_litellm(_litellm_table(path), models, source, "")


def _litellm_table(path: str | Path) -> dict[str, Any]:
    try:
        table = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise TableError(f"{path}: cannot be read ({reason}); check the name") from None
    if not isinstance(table, dict):
        raise TableError(f"{path}: is no table of models; give litellm's JSON")
    return table


def _from_litellm(
    table: dict[str, Any], models: Sequence[str], source: str, day: str
) -> TokenPrices:
    found = []
    for name in models:
        if not _priced(table.get(name)):
            raise TableError(_unpriced(name, source, [k for k in table if _priced(table[k])]))
        line = table[name]
        found.append(
            [_MILLION * line["input_cost_per_token"], _MILLION * line["output_cost_per_token"]]
        )
    prices = np.array(found, np.float64).reshape(-1, 2)
    return TokenPrices(tuple(models), prices[:, 0], prices[:, 1], source, day)


def _priced(line: Any) -> bool:
    kinds = (int, float)
    return isinstance(line, dict) and all(
        isinstance(line.get(f"{side}_cost_per_token"), kinds) for side in ("input", "output")
    )


def _listed(held: Any, name: str) -> Any:
    """The model of this name in the list of genai-prices, or None."""
    provider, _, rest = name.partition("/")
    tries: list[Callable[[], Any]] = [lambda: held.find_provider_model(name, None, None, None)]
    if rest:
        tries.append(lambda: held.find_provider_model(rest, None, provider, None))
    for attempt in tries:
        try:
            return attempt()[1]
        except LookupError:
            continue
    return None


def _base(price: Any) -> float:
    """The price of the lowest tier; none is free."""
    return float(getattr(price, "base", price) or 0.0)


def _unpriced(name: str, source: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, 3, 0.5)
    hint = f"; did you mean {', '.join(close)}?" if close else "; add it to a list of your own"
    return f"{source}: no price of model {name!r}{hint}"
