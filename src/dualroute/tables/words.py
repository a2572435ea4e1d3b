"""Words for messages: paths, cells and lists of names on one line, whatever they hold."""

import os
from collections.abc import Sequence
from typing import Any, TypeAlias

PathLike: TypeAlias = str | os.PathLike[str]


def source_of(path: PathLike) -> str:
    """What messages call a file: its path as it was given."""
    source = str(path)
    return source if source.isprintable() else repr(source)


def show(value: Any, most: int = 60) -> str:
    """A cell or name on one line, cut where it gets long."""
    text = str(value)
    return repr(text if len(text) <= most else text[: most - 2] + "..")


def listed(names: Sequence[str], most: int = 12) -> str:
    """Names one after another, as many as a line takes."""
    shown = ", ".join(show(name, 40) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def reason(error: BaseException) -> str:
    """Why something failed, by the first line of the error."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    line = next((part.strip() for part in text.splitlines() if part.strip()), "")
    return (line or type(error).__name__)[:120]
