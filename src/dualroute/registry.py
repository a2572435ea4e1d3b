"""Names to classes through entry points: the only way anything plugs in.

A package adds a solver, predictor, embedding, limit or rule by declaring an entry point in the
group ``dualroute.solvers``, ``dualroute.predictors``, ``dualroute.embeddings``,
``dualroute.limits`` or ``dualroute.rules``; nothing is imported before it is asked for by name.
"""

import re
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Any, Literal, TypeAlias

from dualroute.errors import MissingDependencyError, OptionError

Group: TypeAlias = Literal["solvers", "predictors", "embeddings", "limits", "rules"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One registered name: what it is, and whether it can be used here."""

    name: str
    summary: str
    problem: str = ""

    @property
    def available(self) -> bool:
        """Whether loading it succeeds."""
        return not self.problem


_REFERENCE = re.compile(r" \[\d+\]_")  # to the list at the end of a docstring


@cache
def _points(group: Group) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"dualroute.{group}")}


def names(group: Group) -> tuple[str, ...]:
    """Every registered name of a group, sorted; imports none of them."""
    return tuple(sorted(_points(group)))


def load(group: Group, name: str) -> Any:
    """The class registered under a name.

    Raises
    ------
    OptionError
        If the name is not registered; the message lists those that are.
    MissingDependencyError
        If a library it needs is absent.
    """
    points = _points(group)
    if name not in points:
        raise OptionError(
            f"no {group.rstrip('s')} {name!r}; registered are {', '.join(names(group)) or 'none'}"
        )
    try:
        return points[name].load()
    except ImportError as error:
        raise MissingDependencyError(
            f"{group.rstrip('s')} {name!r} is not available: {error}"
        ) from None


def create(group: Group, wanted: str) -> Any:
    """An object of the class registered under a name, or of one of its variants.

    Parameters
    ----------
    wanted
        A name, or ``name:variant`` for a class with a method ``variant(name)``, such as
        ``ortools:scip``.

    Raises
    ------
    OptionError
        If name or variant is not known.
    MissingDependencyError
        If a library it needs is absent.
    """
    name, _, variant = wanted.partition(":")
    made = load(group, name)
    if not variant:
        return made()
    if not hasattr(made, "variant"):
        raise OptionError(f"{name!r} has no variants (found {wanted!r}); write {name!r} alone")
    return made.variant(variant)


def entries(group: Group) -> tuple[Entry, ...]:
    """Every registered name with its one-line summary, or why it cannot be used."""
    found = []
    for name in names(group):
        try:
            loaded = load(group, name)
            text = _REFERENCE.sub("", loaded.__doc__ or "").strip()
            found.append(Entry(name, text.splitlines()[0] if text else "", _missing(loaded)))
        except MissingDependencyError as error:
            found.append(Entry(name, "", str(error)))
    return tuple(found)


def _missing(loaded: Any) -> str:
    """What a class needs only when it is used (its ``requires``: module to extra), if absent."""
    for module, extra in getattr(loaded, "requires", {}).items():
        if find_spec(module) is None:
            return f"{module} is not installed; pip install 'dualroute[{extra}]'"
    return ""
