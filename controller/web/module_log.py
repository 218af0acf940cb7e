"""The log in the words of the Execute Python Script module: for people, and programs, that are used to them.

It opens with a description of the inputs, and every line says where it comes from (module contract 6.8).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from controller.model import Column, InputTable, Run

PREFIX = b"[ModuleOutput] "
_TYPES = {
    "bool": "Boolean",
    "int8": "SByte",
    "uint8": "Byte",
    "int16": "Int16",
    "int32": "Int32",
    "int64": "Int64",
    "uint16": "UInt16",
    "uint32": "UInt32",
    "uint64": "UInt64",
    "halffloat": "Single",
    "float": "Single",
    "double": "Double",
    "string": "String",
    "large_string": "String",
    "binary": "Byte[]",
    "large_binary": "Byte[]",
}
_FAMILIES = {
    "timestamp": "DateTime",
    "date": "DateTime",
    "duration": "TimeSpan",
    "time": "TimeSpan",
    "decimal": "Decimal",
    "dictionary": "String",
}


def written(run: Run, text: Iterator[bytes]) -> Iterator[bytes]:
    """The log's text, line for line under the prefix, after what is known of the inputs."""
    for table in run.outcome.inputs if run.outcome else ():
        for line in _description(table):
            yield PREFIX + line.encode() + b"\n"
    begun = False
    for data in filter(None, text):
        whole = (b"" if begun else PREFIX) + data.replace(b"\n", b"\n" + PREFIX)
        begun = not data.endswith(b"\n")
        yield whole if begun else whole.removesuffix(PREFIX)


def _description(table: InputTable) -> list[str]:
    counts = Counter(_system_type(column) for column in table.columns)
    return [
        f"InputName: dataframe{table.port}",
        f"Rows: {table.rows}",
        f"Cols: {len(table.columns)}",
        f"ColumnTypes: {','.join(f'{name},{count}' for name, count in counts.items())}",
    ]


def _system_type(column: Column) -> str:
    family = next((name for start, name in _FAMILIES.items() if column.type.startswith(start)), "Object")
    return f"System.{_TYPES.get(column.type, family)}"
