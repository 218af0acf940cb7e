"""The same again: a run of its own, with the first one's script, inputs and options."""

from __future__ import annotations

import json

import pytest

from tests.running import RunningServer

SCRIPT = """
def azureml_main(dataframe1, *, params):
    import mine
    dataframe1["m"] = dataframe1["n"] * params["factor"] + mine.MORE
    return dataframe1
"""


def bundle() -> bytes:
    import io
    import zipfile

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("mine.py", "MORE = 1\n")
    return file.getvalue()


def submitted(server: RunningServer) -> dict:
    files = {
        "script": ("s.py", SCRIPT),
        "dataframe1": ("t.csv", b"n\n1\n2\n", "text/csv"),
        "bundle": ("b.zip", bundle()),
        "options": (None, json.dumps({"parameters": {"factor": 10}, "memory_bytes": 300 << 20})),
    }
    return server.post("/v1/runs?wait=60", files=files).json()


def test_a_rerun_gives_the_same(server):
    """Another id, the same table; it says which run it repeats."""
    first = submitted(server)
    assert first["status"] == "succeeded", first

    answer = server.post(f"/v1/runs/{first['id']}/rerun?wait=60")

    run = answer.json()
    assert (answer.status_code, run["status"], run["rerun_of"]) == (200, "succeeded", first["id"])
    assert run["id"] != first["id"]
    assert (run["limits"], run["script_sha256"]) == (first["limits"], first["script_sha256"])
    tables = [server.get(f"/v1/runs/{one['id']}/output", headers={"Accept": "text/csv"}).text for one in (first, run)]
    assert tables[0] == tables[1] == '"n","m"\n1,11\n2,21\n'


def test_a_rerun_needs_nothing_of_the_first_run_any_more(server):
    """Deleting the first takes nothing from it, and it can be repeated itself."""
    first = submitted(server)
    second = server.post(f"/v1/runs/{first['id']}/rerun").json()
    assert server.request("DELETE", f"/v1/runs/{first['id']}").status_code == 204

    third = server.post(f"/v1/runs/{second['id']}/rerun?wait=60").json()

    second = server.get(f"/v1/runs/{second['id']}?wait=60").json()
    assert [second["status"], third["status"]] == ["succeeded", "succeeded"]
    assert server.post(f"/v1/runs/{first['id']}/rerun").status_code == 404


@pytest.mark.parametrize("name", ["script.py", "dataframe1", "bundle.zip"])
def test_a_rerun_needs_every_input(server, name):
    """Where one is gone, as while retention removes them, it is refused, and nothing of it is kept."""
    first = submitted(server)
    (server.data_dir / "runs" / first["id"] / "in" / name).unlink()
    before = set((server.data_dir / "runs").iterdir())

    answer = server.post(f"/v1/runs/{first['id']}/rerun")

    assert (answer.status_code, answer.json()["code"]) == (409, "inputs_removed")
    assert set((server.data_dir / "runs").iterdir()) == before


def test_another_tenants_run_cannot_be_repeated(server, make_tenant):
    """As if it were not there."""
    first = submitted(server)

    answer = make_tenant().post(f"/v1/runs/{first['id']}/rerun")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
