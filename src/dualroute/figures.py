"""Figures: an empty one to draw into, and its file; matplotlib is imported here alone."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from dualroute.errors import MissingDependencyError, OptionError
from dualroute.tables import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SUFFIXES = (".png", ".svg", ".pdf")


def check_figure(path: str | Path) -> None:
    """Refuse a plot that cannot be written, before time is spent on its numbers.

    Raises
    ------
    OptionError
        If the suffix is not one of a figure.
    MissingDependencyError
        If matplotlib is absent.
    """
    if Path(path).suffix not in _SUFFIXES:
        raise OptionError(f"{path}: no figure; name it {', '.join(_SUFFIXES)}")
    if find_spec("matplotlib") is None:
        raise MissingDependencyError("a plot needs matplotlib; pip install 'dualroute[plots]'")


def empty_figure(path: str | Path, width: float, height: float) -> "Figure":
    """A figure of a size in inches, for a file that `check_figure` has nothing against."""
    check_figure(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def write_figure(figure: "Figure", path: str | Path) -> None:
    """Write a figure in the format that the file's name ends with, all of it or nothing."""
    write_atomically(path, lambda part: figure.savefig(part, format=Path(path).suffix[1:], dpi=150))
