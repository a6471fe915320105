"""Names of all columns of a table file, without reading their values."""

from collections.abc import Mapping, Sequence
from typing import NoReturn

from popinfer.data.tables.request import Place, Request


class Listed(Exception):  # noqa: N818 - carries a result through readers that would go on reading
    """The columns of each table of a file, by what messages call the table."""

    def __init__(self, tables: Mapping[str, Sequence[str]]) -> None:
        super().__init__("columns are listed")
        self.tables = {table: tuple(names) for table, names in tables.items()}


class ListingRequest(Request):
    """A request for no column, which ends as soon as a reader knows the columns that there are."""

    def lacking(self, present: Sequence[str]) -> list[str]:
        """Whether a text's line can't be a header: of two cells at least, which aren't numbers.

        Readers of text ask this for each separator.
        """
        return [] if len(present) > 1 and not all(map(_is_number, present)) else ["a header"]

    def places(self, present: Sequence[str]) -> dict[str, Place]:
        """End the reading with the columns of the table that a reader has chosen."""
        raise Listed({"": present})

    def choose(self, tables: Mapping[str, Sequence[str]]) -> NoReturn:
        """End the reading with the columns of all tables."""
        raise Listed(tables)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
