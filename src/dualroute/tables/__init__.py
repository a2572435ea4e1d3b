"""Tables on disk: outcomes, queries and routings, read from and written to files.

A table is CSV, TSV, either of them gzipped, or Parquet, told apart by content. Whatever is wrong
with one ends in a single line that names the file, the column, the row and the mend. Rows are
numbered as a spreadsheet does: in a text table the header is row 1 and a quoted cell of many
lines is one row; Parquet and data frames have no header row, so their data start at row 1.

Reading is vectorised. Only a text table that the fast reader cannot take, or that does not add
up, is gone through again record by record, to find the first row that is wrong.

`files` opens whatever a table is in, `rows` checks and converts the cells, `reading` makes
outcomes, queries and routings of them, `writing` writes these, and `words` phrases messages.
"""

from dualroute.tables.reading import (
    Queries,
    outcomes_from_frame,
    read_outcomes,
    read_queries,
    read_routing,
)
from dualroute.tables.writing import (
    write_atomically,
    write_outcomes,
    write_queries,
    write_routing,
)

__all__ = [
    "Queries",
    "outcomes_from_frame",
    "read_outcomes",
    "read_queries",
    "read_routing",
    "write_atomically",
    "write_outcomes",
    "write_queries",
    "write_routing",
]
