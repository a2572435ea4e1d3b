"""What suites and scaling runs share: telling how far they are, and relative differences."""

import math
from collections.abc import Callable
from typing import TypeAlias

Tell: TypeAlias = Callable[[str], None]


def silent(_: str) -> None:
    """Tell nobody."""


def relative(difference: float, size: float) -> float:
    """A difference as a part of a size; infinite where only the size is 0."""
    if difference == 0 or math.isnan(difference):
        return difference
    return difference / abs(size) if size else math.copysign(math.inf, difference)
