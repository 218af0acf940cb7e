"""One script, two places: what it gives on the user's own machine and on a server is the same table."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.running import RunningServer

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
TYPES = """
import datetime as dt
import numpy as np
import pandas as pd

def azureml_main(one, two):
    made = pd.DataFrame({
        "int": [1, 2, 3], "float": [0.1, np.nan, np.inf], "text": ["é", "", None], "bool": [True, False, True],
        "when": pd.to_datetime(["2020-02-29", None, "1999-12-31 23:59:59.999999"], format="ISO8601"),
        "span": pd.to_timedelta([1, 2, 3]),
        "kind": pd.Categorical(["a", "b", "a"], categories=["b", "a", "c"]), "big": [2**62, 1, -5],
        "day": [dt.date(2020, 1, 1), None, dt.date(1, 1, 1)], "raw": [b"\\x00", None, b""],
    })
    print(one.dtypes.to_dict(), two.dtypes.to_dict())
    return pd.concat([made, one, two], axis=1)
"""


def airlock(folder: Path, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    command = [str(Path(sys.executable).with_name("airlock")), *map(str, arguments)]
    variables = {**os.environ, **environment}
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=120)


def both_ways(server: RunningServer, folder: Path, *arguments: object) -> list[dict[str, Any]]:
    """The run's document and its table, from here and from the server."""
    found = []
    for name, place in (("here", ["--local"]), ("there", [])):
        output = folder / f"{name}.arrow"
        done = airlock(
            folder, "run", *place, *arguments, "--output", output, "--json",
            AIRLOCK_URL=server.url, AIRLOCK_KEY=server.key,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        with pa.memory_map(str(output)) as file:
            table = pa.ipc.open_file(file).read_all()
        found.append({"table": table, **json.loads(done.stdout)})
    return found


def assert_alike(here: dict[str, Any], there: dict[str, Any]) -> None:
    """The same columns, types and values; the same remarks. Sizes of images depend on fonts."""
    assert here["table"].schema == there["table"].schema
    for name in here["table"].column_names:
        mine, theirs = (pa.array(run["table"][name].combine_chunks()) for run in (here, there))
        if pa.types.is_floating(mine.type):
            assert mine.is_null().equals(theirs.is_null()), name
            assert mine.drop_null().to_pylist() == pytest.approx(theirs.drop_null().to_pylist(), rel=1e-9, nan_ok=True)
        else:
            assert mine.equals(theirs), name
    for field in ("status", "warnings", "inputs", "output2", "log_bytes", "script_sha256"):
        assert here[field] == there[field]
    assert [image["name"] for image in here["images"]] == [image["name"] for image in there["images"]]


@pytest.mark.parametrize("name", ["breast_cancer", "rank_features", "scatter_matrix", "use_hello"])
def test_the_examples_give_the_same_here_and_there(server: RunningServer, tmp_path: Path, name: str) -> None:
    """Every script of examples/, with what it needs."""
    arguments: list[object] = [EXAMPLES / f"{name}.py"]
    if name == "use_hello":
        bundle = tmp_path / "Hello.zip"
        with zipfile.ZipFile(bundle, "w") as archive:
            archive.write(EXAMPLES / "hello/Hello.py", "Hello.py")
        arguments = [EXAMPLES / "hello/use_hello.py", "--bundle", bundle]
    if name == "rank_features":
        table = tmp_path / "table.csv"
        made = airlock(tmp_path, "run", "--local", EXAMPLES / "breast_cancer.py", "--output", table)
        assert made.returncode == 0, made.stderr
        arguments += ["--dataframe1", table]

    here, there = both_ways(server, tmp_path, *arguments)

    assert here["output"]["rows"] > 0
    assert_alike(here, there)


@pytest.mark.parametrize("dtypes", ["numpy", "nullable", "arrow"])
def test_tables_of_every_sort_are_the_same_here_and_there(
    server: RunningServer, tmp_path: Path, dtypes: str
) -> None:
    """Types that are made, and those that come in, from CSV and from JSON."""
    script, one, two = tmp_path / "all_types.py", tmp_path / "one.csv", tmp_path / "two.json"
    script.write_text(TYPES)
    one.write_text('c,d,e\n1,2020-01-01,"NA"\n,2020-01-02T03:04:05,\n3,,x\n')
    two.write_text('[{"f": 9007199254740993, "g": null}, {"f": 1, "g": true}, {"f": null, "g": false}]')

    here, there = both_ways(server, tmp_path, script, "--dataframe1", one, "--dataframe2", two, "--dtypes", dtypes)

    assert_alike(here, there)


@pytest.mark.parametrize(("tables", "profile"), [(0, "classic"), (1, "classic"), (2, "designer")])
def test_the_starter_runs_as_it_is(server: RunningServer, tmp_path: Path, tables: int, profile: str) -> None:
    """`airlock new` writes a script that needs nothing, and does something with tables, parameters and plots."""
    written = airlock(tmp_path, "new", "mine.py")
    table = tmp_path / "t.csv"
    table.write_text("n,s\n1,x\n2,y\n3,z\n")
    arguments = [word for number in range(tables) for word in (f"--dataframe{number + 1}", table)]

    here, there = both_ways(server, tmp_path, "mine.py", "--profile", profile, *arguments, "--parameter", "rows=2")

    assert written.stdout == "mine.py: try it with `airlock run --local mine.py`\n"
    assert "airlock run --local mine.py" in (tmp_path / "mine.py").read_text()
    assert here["output"]["rows"] == 2
    assert [image["name"] for image in here["images"]] == ["numbers.png"]
    assert here["warnings"] == []
    assert_alike(here, there)


def test_the_starter_replaces_nothing_unless_forced(tmp_path: Path) -> None:
    """A file that is there stays as it is: exit code 2."""
    (tmp_path / "mine.py").write_text("precious")

    refused = airlock(tmp_path, "new", "mine.py")
    kept = (tmp_path / "mine.py").read_text()
    forced = airlock(tmp_path, "new", "--force", "mine.py")
    nowhere = airlock(tmp_path, "new", "no/such/folder/mine.py")

    assert (refused.returncode, kept) == (2, "precious")
    assert "--force" in refused.stderr
    assert forced.returncode == 0
    assert "azureml_main" in (tmp_path / "mine.py").read_text()
    assert nowhere.returncode == 2
    assert "No such file or directory" in nowhere.stderr


def test_versions_come_from_the_server_or_from_docker(server: RunningServer, tmp_path: Path) -> None:
    """Both know the same image, and so give the same list."""
    script = tmp_path / "echo.py"
    script.write_text("import polars\n")

    asked = airlock(tmp_path, "run", "--local", script, "--json", "--url", server.url, "--key", server.key)
    looked = airlock(tmp_path, "run", "--local", script, "--json")

    versions = [json.loads(done.stdout)["versions"] for done in (asked, looked)]
    sources = [version["source"] for version in versions]
    assert sources == [server.url, os.environ.get("AIRLOCK_IMAGE", "airlock-sandbox:latest")]
    assert versions[0]["differences"] == versions[1]["differences"]
    assert "polars" in [one["name"] for one in versions[0]["differences"] if one["here"] is None]
