"""What can go wrong, as types: everything raised on purpose is a `RoutingError`."""


class RoutingError(Exception):
    """Input that cannot be used; the message says what was found, where, and what to do."""


class TableError(RoutingError, ValueError):
    """A file or data frame that is no usable table; names the file, column and row."""


class ProblemError(RoutingError, ValueError):
    """A routing problem, limit or price vector that contradicts itself."""


class OptionError(RoutingError, ValueError):
    """An option outside its range, or a name that is not registered."""


class PolicyError(RoutingError, ValueError):
    """A routing policy, or its file, that cannot be made, or that cannot take the next query."""


class MissingDependencyError(RoutingError, ImportError):
    """An optional library is absent; the message names the extra that installs it."""
