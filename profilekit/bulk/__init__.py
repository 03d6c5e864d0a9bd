"""Lists of users from a file, through a client, into a file."""

from profilekit.bulk.enrich import Enriched, enrich
from profilekit.bulk.rows import Row, Table, open_table
from profilekit.bulk.sink import Sink, open_sink

__all__ = ["Enriched", "Row", "Sink", "Table", "enrich", "open_sink", "open_table"]
