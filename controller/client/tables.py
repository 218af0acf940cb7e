"""How the name of a table's file tells what is in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class Kind(NamedTuple):
    """A format: its name in the API's options, and its media type."""

    format: str
    media_type: str


class StoredTable(NamedTuple):
    """A table that the server has already: a dataset, in one of its versions (None: the newest that is ready)."""

    name: str
    version: int | None = None

    @property
    def reference(self) -> dict[str, object]:
        """How a run's request names it."""
        return {"dataset": self.name} | ({} if self.version is None else {"version": self.version})


KINDS: Mapping[str, Kind] = {
    ".csv": Kind("csv", "text/csv"),
    ".tsv": Kind("tsv", "text/tab-separated-values"),
    ".json": Kind("json", "application/json"),
    ".azureml.json": Kind("azure_json", "application/vnd.azureml.table+json"),
    ".parquet": Kind("parquet", "application/vnd.apache.parquet"),
    ".arrow": Kind("arrow", "application/vnd.apache.arrow.file"),
    ".arrows": Kind("arrow_stream", "application/vnd.apache.arrow.stream"),
}
PACKINGS: Mapping[str, str] = {".gz": "gzip", ".zst": "zstd"}
ARROW = KINDS[".arrow"].media_type


def packing(table: Path) -> str | None:
    """How the file is packed: `gzip`, `zstd`, or None when it is not."""
    return PACKINGS.get(table.suffix.lower())


def kind_of(table: Path) -> Kind | None:
    """The format by the longest suffix that is one, behind that of a packing; None for an unknown one."""
    name = table.name.lower()
    if packing(table):
        name = name.removesuffix(table.suffix.lower())
    suffixes = sorted(KINDS, key=len, reverse=True)
    return next((KINDS[suffix] for suffix in suffixes if name.endswith(suffix)), None)
