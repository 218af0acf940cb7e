"""What a result's file may hold when a script has written into it: a table, or nothing that is believed."""

from __future__ import annotations

import json

import pytest

from controller.web.azureml import table_written

TABLE = {"ColumnNames": ["a", "b"], "ColumnTypes": ["Int64", "String"], "Values": [["1", None], ["2", "x"]]}


def test_a_table_is_read() -> None:
    """As the runner writes it."""
    assert table_written(json.dumps(TABLE).encode()) == TABLE


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"7",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"ColumnNames": ["a"], "ColumnNames": ["a"], "Values": []}',
        b'{"ColumnNames": "a", "Values": []}',
        b'{"ColumnNames": [1], "Values": [[1]]}',
        b'{"ColumnNames": ["a"], "Values": {"a": 1}}',
        b'{"ColumnNames": ["a"], "Values": [1]}',
        b'{"ColumnNames": ["a"], "Values": ["x"]}',
        b'{"ColumnNames": ["a"], "Values": [["1", "2"]]}',
        b'{"ColumnNames": ["a"], "Values": [[NaN]]}',
    ],
)
def test_what_is_no_table_is_not_believed(data: bytes) -> None:
    """Other shapes, other types, what is no JSON."""
    assert table_written(data) is None
