"""One module of an experiment as one run of the shared server: its input ports, and what came out of it."""

from __future__ import annotations

import io
import textwrap
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from tests.running import RunningServer

D1 = pa.table({"a": [0, 2, 4, 6], "b": [1, 3, 5, 7]})
D2 = pa.table({"c": ["x", "y"]})
ECHO = "def azureml_main(dataframe1):\n    return dataframe1,\n"
EMPTY = pa.table({})

Port = pa.Table | tuple[str, bytes] | None
"""What is connected to an input port: a table, a named file, or nothing."""


@dataclass(frozen=True)
class Module:
    """A run that has ended."""

    server: RunningServer
    run: dict[str, Any]

    @property
    def address(self) -> str:
        return f"/v1/runs/{self.run['id']}"

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = self.run["error"]
        return found

    def warning(self, code: str) -> str:
        """The texts of the warnings of this code, joined."""
        return "\n".join(warning["message"] for warning in self.run["warnings"] if warning["code"] == code)

    def table(self, path: str = "output") -> pa.Table:
        answer = self.server.get(f"{self.address}/{path}", headers={"Accept": "application/vnd.apache.arrow.file"})
        assert answer.status_code == 200, answer.text
        with pa.ipc.open_file(answer.content) as reader:
            return reader.read_all()

    def text(self, media_type: str, path: str = "output") -> str:
        answer = self.server.get(f"{self.address}/{path}", headers={"Accept": media_type})
        assert answer.status_code == 200, answer.text
        return answer.content.decode()

    def log(self, **query: str) -> str:
        answer = self.server.get(f"{self.address}/log", params=query)
        assert answer.status_code == 200, answer.text
        return answer.content.decode()

    def images(self) -> dict[str, bytes]:
        """Name and bytes of each image, in the order of the run's list."""
        found = {}
        for image in self.run["images"]:
            answer = self.server.get(f"{self.address}/images/{image['name']}")
            assert answer.status_code == 200, answer.text
            found[image["name"]] = answer.content
        return found


def echo(*checks: str) -> str:
    """A script that gives its table back after these checks of it."""
    lines = "".join(f"    assert {check}, (df.dtypes, df)\n" for check in checks)
    return f"import pandas as pd\ndef azureml_main(df):\n{lines}    return df,\n"


def making(columns: str, before: str = "") -> str:
    """A script that makes a table of these columns."""
    return (
        f"import datetime as dt\nimport decimal\nimport numpy as np\nimport pandas as pd\n{before}\n"
        f"def azureml_main(df=None):\n    return pd.DataFrame({columns}),\n"
    )


def start(server: RunningServer, script: str, *ports: Port, bundle: bytes | None = None, **options: Any) -> str:
    """Submit a script with what is connected to its ports; gives the id of the run."""
    parts: dict[str, Any] = {}
    for number, port in enumerate(ports, start=1):
        if isinstance(port, pa.Table):
            parts[f"dataframe{number}"] = (f"port{number}.arrow", arrow_file(port))
        elif port is not None:
            parts[f"dataframe{number}"] = port
    if bundle is not None:
        parts["bundle"] = ("bundle.zip", bundle)
    run = server.submit(textwrap.dedent(script).lstrip("\n"), wait=0, files=parts, **options)
    return str(run["id"])


def ended(server: RunningServer, run_id: str) -> Module:
    """Wait for the end of a run."""
    answer = server.get(f"/v1/runs/{run_id}?wait=100")
    assert answer.status_code == 200, answer.text
    run = answer.json()
    assert run["status"] in ("succeeded", "failed"), run
    return Module(server, run)


def run_module(server: RunningServer, script: str, *ports: Port, bundle: bytes | None = None, **options: Any) -> Module:
    """Submit a script and wait for its end."""
    return ended(server, start(server, script, *ports, bundle=bundle, **options))


def run_each(
    server: RunningServer, scripts: Mapping[str, str], *ports: Port, bundle: bytes | None = None, **options: Any
) -> dict[str, Module]:
    """The same for several scripts, side by side."""
    ids = {name: start(server, script, *ports, bundle=bundle, **options) for name, script in scripts.items()}
    return {name: ended(server, run_id) for name, run_id in ids.items()}


def gives(module: Module, expected: pa.Table, **warnings: str) -> None:
    """The run succeeded with exactly this table, and with exactly these warnings: code and a part of the text."""
    assert module.run["status"] == "succeeded", module.error
    same(module.table(), expected)
    warned(module, **warnings)


def warned(module: Module, **warnings: str) -> None:
    """The run has exactly these warnings: their codes, and a part of the text of each."""
    assert {warning["code"] for warning in module.run["warnings"]} == set(warnings), module.run["warnings"]
    for code, part in warnings.items():
        assert part in module.warning(code), module.run["warnings"]


def fails(
    module: Module, code: str, kind: str, *words: str, line: int | None = None, reason: str = "script_error"
) -> None:
    """The run failed with this code, type of error, words of the message, and line of the script."""
    assert (module.run["status"], module.run["reason"]) == ("failed", reason), module.run
    assert module.run["output"] is None
    assert (module.error["code"], module.error["type"], module.error["line"]) == (code, kind, line), module.error
    assert [word for word in words if word not in module.error["message"]] == [], module.error


def same(found: pa.Table, expected: pa.Table) -> None:
    """Names, types, order, values and missing values are the same; so are the levels of categories."""
    assert found.schema.names == expected.schema.names
    assert found.schema.types == expected.schema.types
    assert found.to_pydict() == expected.to_pydict()
    assert found.num_rows == expected.num_rows
    for name, column, other in zip(found.schema.names, found.columns, expected.columns, strict=True):
        assert column.null_count == other.null_count, name
        if pa.types.is_dictionary(column.type):
            assert levels(column) == levels(other), name


def levels(column: pa.ChunkedArray) -> Any:
    """The levels of a category, used or not, in order."""
    return column.combine_chunks().dictionary.to_pylist()


def arrow_file(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def zipped(files: Mapping[str, str | bytes] | Iterable[tuple[str | zipfile.ZipInfo, str | bytes]]) -> bytes:
    """A zip of these files."""
    pairs = files.items() if isinstance(files, Mapping) else files
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name, content in pairs:
            archive.writestr(name, content)
    return sink.getvalue()
