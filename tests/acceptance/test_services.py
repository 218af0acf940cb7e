"""The services of examples/services, published and called as examples/README.md says."""

from __future__ import annotations

import base64
import csv
import json
from pathlib import Path

import pytest
import requests
from test_command_line import airlock

from tests.running import RunningServer

EXAMPLES = Path(__file__).parents[2] / "examples"
FLOWERS = (
    "sepal length (cm),sepal width (cm),petal length (cm),petal width (cm)\n"
    "5.1,3.5,1.4,0.2\n"
    "6.7,3.0,5.2,2.3\n"
)


def service(server: RunningServer, name: str, script: Path, *options: object) -> str:
    """Store a script and publish it: the endpoint's key."""
    put = airlock(server, "script", "put", name, script, *options)
    assert put.returncode == 0, put.stderr
    made = airlock(server, "endpoint", "publish", name, name, "--json")
    assert made.returncode == 0, made.stderr
    document = json.loads(made.stdout)
    assert document["sample"] is None or document["sample"]["error"] is None
    return str(document["keys"]["primary"])


def called(server: RunningServer, name: str, key: str, rows: object, **headers: str) -> requests.Response:
    headers = {"Authorization": f"Bearer {key}", **headers}
    return requests.post(f"{server.url}/v1/endpoints/{name}/call", json=rows, headers=headers, timeout=120)


def test_the_expression_evaluator(server: RunningServer) -> None:
    """Expressions in, expressions and results out; one that fails fails the call, with the line."""
    key = service(server, "evaluate", EXAMPLES / "services/evaluate.py")

    rows = called(server, "evaluate", key, [{"expression": "1+2"}, {"expression": "round(sqrt(2), 3)"}])
    wrong = called(server, "evaluate", key, [{"expression": "1/0"}])

    assert rows.json() == [
        {"expression": "1+2", "result": "3"},
        {"expression": "round(sqrt(2), 3)", "result": "1.414"},
    ]
    assert wrong.status_code == 422
    assert wrong.json()["error"]["type"] == "ZeroDivisionError"


def test_the_feature_ranker(server: RunningServer, tmp_path: Path) -> None:
    """A table with a target in, its columns with their importances out, the most important first."""
    key = service(server, "rank", EXAMPLES / "rank_features.py")
    rows = [{"noise": n % 3, "signal": n // 10, "target": n // 10} for n in range(20)]

    ranking = called(server, "rank", key, rows).json()

    assert [row["feature"] for row in ranking] == ["signal", "noise"]
    assert sum(row["importance"] for row in ranking) == pytest.approx(1)


def test_the_scorer_unpickles_the_model_of_its_bundle(server: RunningServer, tmp_path: Path) -> None:
    """Trained in a run, so that the libraries are those of the service."""
    cell, bundle, sample, result = (tmp_path / name for name in ("c.csv", "model.zip", "sample.csv", "result.csv"))
    trained = airlock(server, "run", EXAMPLES / "services/train.py", "--output", cell)
    assert trained.returncode == 0, trained.stderr
    csv.field_size_limit(1 << 24)
    bundle.write_bytes(base64.b64decode(list(csv.reader(cell.read_text().splitlines()))[1][0]))
    sample.write_text(FLOWERS)

    key = service(server, "score", EXAMPLES / "services/score.py", "--bundle", bundle, "--dataframe1", sample)
    done = airlock(
        server, "endpoint", "call", "score", "--dataframe1", sample, "--output", result, AIRLOCK_KEY=key
    )

    assert done.returncode == 0, done.stderr
    assert [row["species"] for row in csv.DictReader(result.read_text().splitlines())] == ["setosa", "virginica"]


def test_the_plot_service_answers_with_a_png(server: RunningServer) -> None:
    """The picture itself, not a table."""
    key = service(server, "plot", EXAMPLES / "services/plot.py")
    rows = {"dataframe1": {"records": [{"x": 1, "y": 2}, {"x": 2, "y": 4}]}, "parameters": {"title": "two points"}}

    picture = called(server, "plot", key, rows, Accept="image/png")

    assert picture.headers["Content-Type"] == "image/png"
    assert picture.content.startswith(b"\x89PNG")
