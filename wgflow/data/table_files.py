"""Tables as they lie in files: CSV with its separators, and Parquet."""

import contextlib
import logging
import re
from pathlib import Path

import pyarrow as pa
from pyarrow import csv, parquet

from wgflow._check import shown
from wgflow.data.foreign import check_regular, kind_of, reading

TEXT = (".csv", ".tsv")
"""Suffixes of tables in text."""

TABLES = (*TEXT, ".parquet")
"""Suffixes of files of rows, whose columns have names and kinds."""

INDEX = re.compile(r"|Unnamed: \d+(\.\d+)*|__index_level_\d+__")
"""Names of the row index of a frame that was written as a column, by R or by pandas."""

SEPARATORS = (",", ";", "\t", "|")
"""What may be between columns; of as many of two in a header, the first of them."""

QUOTED = re.compile(r'"[^"]*"')

DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
"""Numbers where a comma is the decimal point; then another mark is between columns."""

LONGEST_LINE = 2**20
"""Characters of a header that are looked at."""

log = logging.getLogger(__name__)


def read_table(path: Path) -> pa.Table:
    """The rows of a table as they lie in the file, but for an index of its rows.

    Columns of text are separated by commas, or by semicolons, tabs or bars where the header
    has more of them; then numbers may have decimal commas. A column without a name, or with that
    of an index, whose values are different integers or texts, or numbers if it is the first, is an
    index of the rows: it is left out, and that is logged.

    Raises:
        ValueError: the file is broken, or of another kind; a column has no name, and is no index,
            or has a number for one.
    """
    check_regular(path)
    is_text = path.suffix.lower() in TEXT
    with reading(path.name, "must hold a table"):
        table = _read_csv(path) if is_text else parquet.read_table(path)
        names = table.column_names  # refuses those that are no text
    if 0 in table.shape:
        raise ValueError(f"{path.name} must hold a table with rows: got {table.shape}.")
    if is_text and all(map(_is_number, names)):
        # Without this the first row of data would silently become the names.
        raise ValueError(
            f"{path.name} must have a header of names: got numbers {shown(names[:5])}."
        )
    binary = [f.name for f in table.schema if pa.types.is_binary(f.type)]
    if is_text and binary:
        raise ValueError(
            f"{path.name} must be text in UTF-8: got other bytes in column {shown(binary[0])}."
        )
    return _without_index(table, path.name)


def _read_csv(path: Path) -> pa.Table:
    """Raises ValueError for what is no text, and whatever pyarrow does."""
    if (kind := kind_of(path)) not in ("text", "an empty file"):
        raise ValueError(f"expected text in UTF-8, got {kind}.")
    with path.open(encoding="utf8", errors="replace") as file:
        header = QUOTED.sub("", file.readline(LONGEST_LINE))
    named = "\t" if path.suffix.lower() == ".tsv" and "\t" in header else None
    mark = named or max(SEPARATORS, key=header.count)
    table = _parsed(path, mark)
    if mark == "," or not _has_decimal_commas(table):
        return table
    return _parsed(path, mark, decimal_point=",")


def _parsed(path: Path, mark: str, decimal_point: str = ".") -> pa.Table:
    # An empty field is missing in a column of text as it is in one of numbers.
    options = csv.ConvertOptions(strings_can_be_null=True, decimal_point=decimal_point)
    return csv.read_csv(
        path, parse_options=csv.ParseOptions(delimiter=mark), convert_options=options
    )


def _has_decimal_commas(table: pa.Table) -> bool:
    """Whether all texts of a column are numbers with one, and no column has decimal points."""
    if any(pa.types.is_floating(field.type) for field in table.schema):
        return False
    texts = (c.drop_null().to_pylist() for c in table.columns if pa.types.is_string(c.type))
    return any(x and all(map(DECIMAL_COMMA.fullmatch, x)) for x in texts)


def _without_index(table: pa.Table, name: str) -> pa.Table:
    for j in reversed(range(table.num_columns)):
        known = table.column_names[j]
        if not INDEX.fullmatch(known):
            continue
        if table.num_columns == 1 or not _tells_rows_apart(table.column(j), first=j == 0):
            raise ValueError(
                f"{name} must name every column: got {known!r}, which is no index of the rows, "
                "since its values repeat or are no integers or text; give it a name."
            )
        log.warning("Column %r of %s is an index of its rows: left out.", known, name)
        table = table.remove_column(j)
    return table


def _tells_rows_apart(column: pa.ChunkedArray, *, first: bool) -> bool:
    """Whether different integers or texts do, or in the first column numbers such as R's 1.2."""
    kind = column.type
    suits = pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return (suits or first) and not column.null_count and len(column.unique()) == len(column)


def _is_number(text: str) -> bool:
    with contextlib.suppress(ValueError):
        float(text)
        return True
    return False
