"""A TOML file as plain values; what cannot be read is one clear line."""

import tomllib
from pathlib import Path
from typing import Any

from dualroute.errors import TableError


def read_toml(path: str | Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises
    ------
    TableError
        If it cannot be read, or is not TOML.
    """
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror}); check the name") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TableError(f"{path}: not valid TOML ({error}); mend the line") from None
