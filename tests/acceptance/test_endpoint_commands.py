"""`airlock endpoint` against the real server, and a client that a stock generator makes of an endpoint's document."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from test_command_line import airlock, write

from tests.running import RunningServer

SCRIPT = """
def azureml_main(dataframe1, *, params):
    return dataframe1.assign(total=dataframe1["price"] * params["factor"])
"""
CALLS = """
import sys
from client import AuthenticatedClient
from client.api.default import call
from client.models import CallRequest, CallRequestDataframe1, CallRequestParameters

url, key = sys.argv[1:]
rows = [{"city": "oslo", "price": 2.5}, {"city": None, "price": 1.0}]
wanted = CallRequest.from_dict({"dataframe1": {"records": rows}, "parameters": {"factor": 4}})
for found in call.sync(client=AuthenticatedClient(base_url=url, token=key), body=wanted):
    print(found.city, found.price, found.total)
wrong = call.sync(client=AuthenticatedClient(base_url=url, token="wrong"), body=wanted)
print(wrong.status, wrong.code)
"""


def kept(server: RunningServer, folder: Path, name: str) -> None:
    script, sample, options = write(folder, SCRIPT), folder / "sample.csv", folder / "options.json"
    sample.write_text("city,price\noslo,1.5\n")
    options.write_text(json.dumps({"parameters": {"factor": {"type": "integer", "default": 2}}}))
    put = airlock(server, "script", "put", name, script, "--dataframe1", sample, "--options", options)
    assert put.returncode == 0, put.stderr


def test_an_endpoint_lives_on_the_command_line(server: RunningServer, tmp_path: Path) -> None:
    """Published, shown, called with its key, switched, rolled back, its key replaced, taken away."""
    kept(server, tmp_path, "cli-prices")
    table, result = tmp_path / "t.csv", tmp_path / "result.csv"
    table.write_text("city,price\nrome,3\n")
    parameters = tmp_path / "p.json"
    parameters.write_text('{"factor": 10}')

    made = airlock(server, "endpoint", "publish", "cli-prices", "cli-prices@1", "--concurrency", "3")
    key = made.stdout.partition("primary key (shown only now): ")[2].split()[0]
    sent = ("--dataframe1", table, "--parameters", parameters, "--output", result)
    called = airlock(server, "endpoint", "call", "cli-prices", *sent, AIRLOCK_KEY=key)
    write(tmp_path, SCRIPT + "# changed\n")
    kept(server, tmp_path, "cli-prices")
    switched = airlock(server, "endpoint", "publish", "cli-prices", "cli-prices@latest", "--off")
    rolled = json.loads(airlock(server, "endpoint", "rollback", "cli-prices", "--json").stdout)
    shown = airlock(server, "endpoint", "show", "cli-prices")
    listed = airlock(server, "endpoint", "list")
    usage = airlock(server, "endpoint", "usage", "cli-prices")
    new = airlock(server, "endpoint", "regenerate", "cli-prices", "primary")
    deleted = airlock(server, "endpoint", "delete", "cli-prices")
    gone = airlock(server, "endpoint", "show", "cli-prices")

    for done in (made, called, switched, shown, listed, usage, new, deleted):
        assert done.returncode == 0, done.stdout + done.stderr
    assert made.stdout.startswith("cli-prices  serves cli-prices@1, which is version 1")
    assert result.read_text() == '"city","price","total"\n"rome",3,30\n'
    assert rolled["script"] == "cli-prices@1"
    assert "cli-prices  off  serves cli-prices@1" in shown.stdout
    assert "key" not in shown.stdout
    assert "cli-prices" in listed.stdout
    assert "1 succeeded, 0 failed, 0 throttled" in usage.stdout
    assert new.stdout.startswith("ale_")
    assert gone.returncode == 2


def test_a_client_that_a_stock_generator_makes_works(server: RunningServer, tmp_path: Path) -> None:
    """openapi-python-client reads the endpoint's own document; its client has the columns and the parameters."""
    kept(server, tmp_path, "generated")
    answer = server.request("PUT", "/v1/endpoints/generated", json={"script": "generated"})
    assert answer.status_code == 201, answer.text
    document = server.get("/v1/endpoints/generated/openapi.json").json()
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    (tmp_path / "config.yml").write_text("package_name_override: client\npost_hooks: []\n")
    (tmp_path / "calls.py").write_text(CALLS)

    options = ["--path", "openapi.json", "--meta", "none", "--config", "config.yml", "--fail-on-warning"]
    subprocess.run([sys.executable, "-m", "openapi_python_client", "generate", *options], cwd=tmp_path, check=True)
    done = subprocess.run(
        [sys.executable, "calls.py", server.url, answer.json()["keys"]["primary"]],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["oslo 2.5 10.0", "None 1.0 4.0", "401 unauthorized"]
