"""The receipt of a run: it says what really went in and came out, is the same each time, and cannot be changed."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import docker
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from wire import SCRIPT, SLEEPER, refused

from controller.signing import NotGenuine, PublicKey, SigningKey, canonical, read_public_key, verified
from tests.running import RunningServer, until

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "receipts.md").read_text()
MIXED = """
import sys
import colour

def azureml_main(dataframe1, dataframe2, params):
    print(colour.NAME, params)
    sys.stderr.buffer.write(b"\\xff broken \\xc3")
    sys.stderr.flush()
    print("\u00a4" * 3)
    return dataframe1.merge(dataframe2, on="k"), dataframe2
"""
DRAWN = """
import matplotlib.pyplot as plt
import pandas as pd

def azureml_main(dataframe1=None):
    print("drawing")
    for name in ("one.png", "two words.png"):
        plt.figure(figsize=(1, 1))
        plt.savefig(name)
    return pd.DataFrame({"n": [1, 2, 3]})
"""
LEFT, RIGHT = b"k;n\n1;10\n", b'[{"k": 1, "s": "\\u00e4"}]'
PARAMETERS = {"z": 1e-07, "\u00e4": [1.0, 2, None, True], "a": "\U0001f600"}


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def bundle() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        file.writestr("colour.py", 'NAME = "bl\u00e4u"\n')
    return made.getvalue()


BUNDLE = bundle()


def fetched(server: RunningServer, run: Any) -> bytes:
    """The receipt's bytes, genuine and of this server."""
    answer = server.get(f"/v1/runs/{run['id']}/receipt")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    verified(answer.content, public_key(server))
    return answer.content


def receipt_of(server: RunningServer, run: Any) -> Any:
    return json.loads(fetched(server, run))


def public_key(server: RunningServer) -> PublicKey:
    return read_public_key(requests.get(f"{server.url}/v1/receipt-key", timeout=30).content)


def kept(server: RunningServer, run: Any) -> Path:
    """Where the server keeps the receipt."""
    return server.data_dir / "runs" / run["id"] / "receipt.json"


@pytest.fixture(scope="module")
def mixed(server: RunningServer) -> Any:
    """A run with everything that may go in."""
    run = server.submit(
        MIXED,
        files={
            "dataframe1": ("left.csv", LEFT, "text/csv"),
            "dataframe2": ("right.json", RIGHT, "application/json"),
            "bundle": ("b.zip", BUNDLE, "application/zip"),
        },
        profile="designer",
        dtypes="arrow",
        parameters=PARAMETERS,
        output_format="csv",
        dataframe1={"delimiter": ";"},
    )
    assert run["status"] == "succeeded", run
    return run


@pytest.fixture(scope="module")
def genuine(server: RunningServer, table_run: Any) -> bytes:
    return fetched(server, table_run)


# -- what it says ------------------------------------------------------------------------------------------------


def test_the_hashes_of_what_went_in_are_those_of_what_was_sent(server: RunningServer, mixed: Any) -> None:
    """Script, tables with how they are read, bundle, parameters: computed here from what this test sent."""
    said = receipt_of(server, mixed)

    reading = {"delimiter": None, "encoding": None, "missing": [], "dates": {}, "types": {}, "columns": None}
    as_json = json.dumps(PARAMETERS, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert said["script_sha256"] == digest(MIXED.encode())
    assert said["inputs"] == [
        {"port": 1, "format": "csv", "compression": None, "slice": None, "reading": {**reading, "delimiter": ";"},
         "sha256": digest(LEFT), "bytes": len(LEFT)},
        {"port": 2, "format": "json", "compression": None, "slice": None, "reading": reading,
         "sha256": digest(RIGHT), "bytes": len(RIGHT)},
    ]  # fmt: skip
    assert said["bundle"] == {"sha256": digest(BUNDLE), "bytes": len(BUNDLE)}
    assert said["parameters_sha256"] == digest(as_json)
    assert (said["profile"], said["dtypes"]) == ("designer", "arrow")


def test_the_hashes_of_what_came_out_are_those_of_what_is_fetched(server: RunningServer, mixed: Any) -> None:
    """Both tables in both formats that the run wrote, and the log, of which not every byte is a character."""
    said = receipt_of(server, mixed)["outputs"]

    def table(port: int, format: str, accept: str) -> dict[str, Any]:
        path = f"/v1/runs/{mixed['id']}/output{'' if port == 1 else port}"
        data = server.get(path, headers={"Accept": accept}).content
        return {"port": port, "format": format, "sha256": digest(data), "bytes": len(data)}

    log = server.get(f"/v1/runs/{mixed['id']}/log").content
    kinds = [("arrow", "application/vnd.apache.arrow.file"), ("csv", "text/csv")]
    assert said["tables"] == [table(port, format, accept) for port in (1, 2) for format, accept in kinds]
    assert said["log"] == {"sha256": digest(log), "bytes": len(log), "truncated": False}
    assert "bl\u00e4u" in log.decode()
    assert "\ufffd broken" in log.decode()


def test_the_hashes_of_images_are_those_of_the_images(server: RunningServer, table_run: Any) -> None:
    """Each by its name, although they lie in one file."""
    said = receipt_of(server, table_run)["outputs"]["images"]

    def image(name: str) -> dict[str, Any]:
        data = server.get(f"/v1/runs/{table_run['id']}/images/{name}").content
        return {"name": name, "type": "image/png", "sha256": digest(data), "bytes": len(data)}

    assert said == [image("one.png"), image("two words.png")]


def test_a_format_asked_for_later_is_not_the_runs(server: RunningServer, table_run: Any) -> None:
    """The receipt names what the run wrote, whatever was made of it since."""
    server.get(f"/v1/runs/{table_run['id']}/output", headers={"Accept": "text/csv"})

    tables = receipt_of(server, table_run)["outputs"]["tables"]

    assert [(table["port"], table["format"]) for table in tables] == [(1, "arrow")]


def test_it_says_of_the_run_what_the_run_says(server: RunningServer, table_run: Any) -> None:
    """Status, limits, use, times, image: the same words."""
    said = receipt_of(server, table_run)

    same = ("status", "reason", "attempt", "reused_from", "rerun_of", "batch_id", "item", "script_sha256",
            "environment", "limits", "usage", "timings", "created_at", "started_at", "finished_at")  # fmt: skip
    assert {name: said[name] for name in same} == {name: table_run[name] for name in same}
    assert said["run_id"] == table_run["id"]
    assert re.fullmatch("ten_[0-9a-f]{32}", said["tenant_id"])
    assert (said["version"], said["error_code"], said["warnings"]) == (1, None, [])
    assert said["airlock_version"] == server.get("/openapi.json").json()["info"]["version"]
    assert datetime.fromisoformat(said["issued_at"]) >= datetime.fromisoformat(said["finished_at"])
    assert said["parameters_sha256"] == digest(b"{}")
    assert (said["inputs"], said["bundle"]) == ([], None)


def test_it_says_which_engine_and_which_walls(server: RunningServer, table_run: Any) -> None:
    """As Docker says of itself."""
    client = docker.from_env()
    version, info = client.version(), client.info()
    client.close()

    said = receipt_of(server, table_run)["engine"]

    runc = [part["Version"] for part in version["Components"] if part["Name"] == "runc"]
    assert (said["name"], said["version"], said["runtime"]) == ("docker", version["Version"], "runc")
    assert [said["runtime_version"]] == runc
    assert said["cgroup_version"] == info["CgroupVersion"]
    assert said["controls"]["memory_limit"] is info["MemoryLimit"]
    assert said["controls"]["seccomp"] is any("seccomp" in option for option in info["SecurityOptions"])


# -- every way to end --------------------------------------------------------------------------------------------


def test_a_failed_run_has_one(server: RunningServer, failed_run: Any) -> None:
    """With its reason and the code of its error, the log, and no table."""
    said = receipt_of(server, failed_run)

    assert (said["status"], said["reason"], said["error_code"]) == ("failed", "script_error", "0085")
    assert said["outputs"]["tables"] == []
    assert said["outputs"]["log"]["sha256"] == digest(server.log(failed_run).encode())


def test_a_run_with_a_warning_names_its_code(server: RunningServer) -> None:
    """The code; the words are in the run."""
    run = server.submit("def azureml_main():\n    return {'a': [1]}\n")

    said = receipt_of(server, run)

    assert said["warnings"] == [warning["code"] for warning in run["warnings"]] == ["returned_dict"]


def test_a_cancelled_run_has_one(server: RunningServer) -> None:
    """Of a run that was stopped while it ran: not before it has ended."""
    run = server.submit(SLEEPER, wait=0)
    path = f"/v1/runs/{run['id']}"
    assert until(lambda: server.get(path).json()["status"] == "running")

    refused(server.get(f"{path}/receipt"), 409, "conflict", "running")
    server.post(f"{path}/cancel")
    ended = server.get(f"{path}?wait=30").json()
    said = receipt_of(server, ended)

    assert (said["status"], said["attempt"]) == ("cancelled", 1)
    assert said["outputs"]["tables"] == []
    assert said["engine"]["name"] == "docker"


def test_a_run_that_was_never_begun_has_one(small: RunningServer) -> None:
    """Cancelled in the queue: no engine, no image, no log; but its script."""
    first = small.submit(SLEEPER, wait=0)
    assert until(lambda: small.get(f"/v1/runs/{first['id']}").json()["status"] == "running")
    waiting = small.submit(SCRIPT.decode(), wait=0)

    refused(small.get(f"/v1/runs/{waiting['id']}/receipt"), 409, "conflict", "queued")
    small.post(f"/v1/runs/{waiting['id']}/cancel")
    said = receipt_of(small, waiting)
    small.post(f"/v1/runs/{first['id']}/cancel")
    assert small.get(f"/v1/runs/{first['id']}?wait=30").status_code == 200

    assert (said["status"], said["attempt"], said["engine"]) == ("cancelled", 0, None)
    assert said["environment"] == {"name": "default", "digest": None}
    assert said["outputs"] == {"tables": [], "images": [], "log": {"sha256": None, "bytes": None, "truncated": False}}
    assert said["script_sha256"] == digest(SCRIPT)


def test_a_reused_result_says_whose_it_is(make_tenant: Callable[..., RunningServer]) -> None:
    """Its own receipt, not the first run's; nothing was executed for it; the results are the same files."""
    tenant = make_tenant()
    files = {"dataframe1": ("t.csv", b"a\n1\n", "text/csv")}
    first = tenant.submit(SCRIPT.decode(), files=files, reuse=True)
    before = receipt_of(tenant, first)

    again = tenant.submit(SCRIPT.decode(), files=files, reuse=True, wait=0)
    said = receipt_of(tenant, again)

    assert (said["run_id"], said["reused_from"]) == (again["id"], first["id"])
    assert said["outputs"]["tables"] == before["outputs"]["tables"]
    assert said["inputs"] == before["inputs"]
    assert (said["engine"], said["usage"]["wall_seconds"]) == (None, None)
    assert receipt_of(tenant, first) == before


def test_what_is_no_longer_there_is_null(server: RunningServer) -> None:
    """A table that was removed, a result that was moved: known to have been, and no more."""
    files = {"dataframe1": ("t.csv", b"a\n1\n", "text/csv"), "bundle": ("b.zip", BUNDLE, "application/zip")}
    run = server.submit(DRAWN, files=files)
    assert until(kept(server, run).exists)
    root = kept(server, run).parent
    for name in ("receipt.json", "in/dataframe1", "in/bundle.zip", "result.arrow", "images", "log"):
        (root / name).unlink()

    said = receipt_of(server, run)

    gone = {"sha256": None, "bytes": None}
    assert [{name: table[name] for name in gone} for table in said["inputs"]] == [gone]
    assert said["bundle"] == gone
    assert said["outputs"] == {
        "tables": [{"port": 1, "format": "arrow", **gone}],
        "images": [{"name": name, "type": "image/png", **gone} for name in ("one.png", "two words.png")],
        "log": {"truncated": False, **gone},
    }
    assert said["script_sha256"] == digest(DRAWN.encode())


# -- once and for all --------------------------------------------------------------------------------------------


def test_it_is_made_before_anybody_asks(server: RunningServer) -> None:
    """By the worker, when the run has ended; private to the server."""
    run = server.submit(SCRIPT.decode(), files={"dataframe1": ("t.csv", b"a\n1\n", "text/csv")})

    assert until(kept(server, run).exists)
    assert kept(server, run).stat().st_mode & 0o777 == 0o600
    assert not kept(server, run).with_name("receipt.json.part").exists()
    assert fetched(server, run) == kept(server, run).read_bytes()


def test_everybody_gets_the_same_bytes(server: RunningServer) -> None:
    """Eight at once who ask for one that is not there yet: it is made once."""
    run = server.submit(DRAWN)
    assert until(kept(server, run).exists)
    earlier = json.loads(fetched(server, run))
    kept(server, run).unlink()

    def ask(_: int) -> bytes:
        headers = {"Authorization": f"Bearer {server.key}"}
        return requests.get(f"{server.url}/v1/runs/{run['id']}/receipt", headers=headers, timeout=60).content

    with ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(ask, range(8)))

    assert answers == {fetched(server, run)}
    again = json.loads(answers.pop())
    assert again["issued_at"] > earlier["issued_at"]
    assert {**again, "issued_at": 0, "signature": 0} == {**earlier, "issued_at": 0, "signature": 0}


def test_it_outlives_a_killed_server(make_server: Callable[..., RunningServer]) -> None:
    """The same bytes, the same key; and one that was not made before the kill is made afterwards."""
    first = make_server()
    run, other = first.submit(DRAWN), first.submit(DRAWN)
    before, key = fetched(first, run), public_key(first)
    assert until(kept(first, other).exists)
    first.stop(9)
    kept(first, other).rename(kept(first, other).with_name("receipt.json.part"))

    second = make_server(key=first.key)

    assert fetched(second, run) == before
    assert public_key(second) == key
    assert receipt_of(second, other)["run_id"] == other["id"]
    assert not kept(second, other).with_name("receipt.json.part").exists()


def test_it_outlives_the_runs_files(make_server: Callable[..., RunningServer]) -> None:
    """Removed by age, inputs, outputs and log are still known by their hashes; also of a run that nobody executed."""
    settings = {f"AIRLOCK_KEEP_{part}_SECONDS": "0.2" for part in ("INPUTS", "OUTPUTS", "LOG")}
    server = make_server(AIRLOCK_SWEEP_SECONDS="600")
    run = server.submit(DRAWN, files={"dataframe1": ("t.csv", b"a\n1\n", "text/csv")}, reuse=True)
    again = server.submit(DRAWN, files={"dataframe1": ("t.csv", b"a\n1\n", "text/csv")}, reuse=True)
    before, table = fetched(server, run), server.get(f"/v1/runs/{run['id']}/output").content
    assert not kept(server, again).exists()
    server.stop()

    server = make_server(key=server.key, AIRLOCK_SWEEP_SECONDS="0.3", **settings)
    paths = [f"/v1/runs/{one['id']}" for one in (run, again)]
    assert until(lambda: all(len(server.get(path).json()["removed"]) == 3 for path in paths), 30)

    assert server.get(f"{paths[0]}/output").status_code == 410
    assert fetched(server, run) == before
    said = receipt_of(server, again)
    assert said["reused_from"] == run["id"]
    assert said["outputs"]["tables"][0]["sha256"] == digest(table)
    assert said["inputs"][0]["sha256"] == digest(b"a\n1\n")
    assert sorted(path.name for path in kept(server, run).parent.iterdir()) == ["receipt.json"]


def test_with_a_new_key_old_receipts_stay_as_they_are(make_server: Callable[..., RunningServer]) -> None:
    """They are checked with the old public key; new ones with the new."""
    first = make_server()
    run = first.submit(DRAWN)
    before, key = fetched(first, run), public_key(first)
    first.stop()
    (first.data_dir / "receipt.key").unlink()

    second = make_server(key=first.key)
    after = second.get(f"/v1/runs/{run['id']}/receipt").content

    assert after == before
    assert verified(after, key)
    with pytest.raises(NotGenuine, match="not by the given one"):
        verified(after, public_key(second))
    fetched(second, second.submit(DRAWN))


def test_a_deleted_run_has_none(server: RunningServer) -> None:
    """It goes with the run."""
    run = server.submit(SCRIPT.decode())
    fetched(server, run)

    assert server.request("DELETE", f"/v1/runs/{run['id']}").status_code == 204

    refused(server.get(f"/v1/runs/{run['id']}/receipt"), 404, "not_found", "no run with this id")
    assert not kept(server, run).exists()


# -- the key -----------------------------------------------------------------------------------------------------


def test_the_public_key_is_for_everybody(server: RunningServer) -> None:
    """As PEM, or as JSON for who prefers it; the same key."""
    address = f"{server.url}/v1/receipt-key"

    pem = requests.get(address, timeout=30)
    asked = requests.get(address, headers={"Accept": "application/json"}, timeout=30)
    other = requests.get(address, headers={"Accept": "text/html"}, timeout=30)
    query = requests.get(f"{address}?form=pem", timeout=30)

    key = read_public_key(pem.content)
    assert (pem.headers["Content-Type"], asked.headers["Content-Type"]) == (
        "application/x-pem-file",
        "application/json",
    )
    assert asked.json() == {
        "algorithm": "Ed25519",
        "key_id": digest(base64.b64decode(asked.json()["public_key"])),
        "public_key": key.base64,
    }
    refused(other, 406, "not_acceptable", "application/x-pem-file")
    refused(query, 422, "invalid_request", "form")


def test_the_secret_key_stays_secret(server: RunningServer, table_run: Any) -> None:
    """Its file is private, and its content is neither in the log nor in the database nor in a receipt."""
    file = server.data_dir / "receipt.key"
    secret = max(file.read_text().splitlines(), key=len)

    assert file.stat().st_mode & 0o777 == 0o600
    assert len(secret) == 64
    places = [server.log_path, *server.data_dir.glob("airlock.db*"), kept(server, table_run)]
    assert [place for place in places if secret.encode() in place.read_bytes()] == []


# -- nobody can change it ----------------------------------------------------------------------------------------


def test_every_bit_counts(genuine: bytes, server: RunningServer) -> None:
    """Each bit of the document, flipped alone, is found out: brackets, digits, letters, the signature's own."""
    passed = []
    for at in range(len(genuine)):
        for bit in range(8):
            changed = bytearray(genuine)
            changed[at] ^= 1 << bit
            try:
                verified(bytes(changed))
            except NotGenuine:
                continue
            passed.append((at, bit))

    assert passed == []


def places(document: Any) -> Iterator[tuple[Any, Any]]:
    """(container, index) of every value in a document, at any depth."""
    for index in list(document) if isinstance(document, dict) else range(len(document)):
        yield document, index
        if isinstance(document[index], dict | list):
            yield from places(document[index])


def test_every_field_counts(server: RunningServer, mixed: Any) -> None:
    """Each value replaced, each member and item taken out, and one put in, written as it should be: found out."""
    genuine = fetched(server, mixed)
    tried = 0
    for number, _ in enumerate(places(json.loads(genuine))):
        for change in ("replace", "remove"):
            document = json.loads(genuine)
            holder, index = list(places(document))[number]
            if change == "replace":
                holder[index] = "other"
            else:
                del holder[index]
            with pytest.raises(NotGenuine):
                verified(canonical(document))
            tried += 1

    with pytest.raises(NotGenuine, match="changed since"):
        verified(canonical({**json.loads(genuine), "more": 1}))
    assert tried > 150


def test_cut_off_at_any_length_it_is_refused(genuine: bytes) -> None:
    """Also by one byte, and to nothing."""
    for length in range(len(genuine)):
        with pytest.raises(NotGenuine):
            verified(genuine[:length])


def test_written_anew_it_is_refused(genuine: bytes) -> None:
    """The same content indented, in another order, or with something behind it: not the bytes that were signed."""
    document = json.loads(genuine)
    backwards = json.dumps(dict(reversed(document.items())), separators=(",", ":"), ensure_ascii=False).encode()

    for other in (json.dumps(document, indent=2).encode(), backwards, genuine + b" ", b" " + genuine, genuine * 2):
        with pytest.raises(NotGenuine):
            verified(other)


def test_another_keys_signature_is_no_use(genuine: bytes, server: RunningServer) -> None:
    """A receipt that somebody else signed is unchanged, but not this server's."""
    document = json.loads(genuine)
    del document["signature"]
    forged = SigningKey(Ed25519PrivateKey.generate()).signed({**document, "status": "failed"})

    assert verified(forged)[0]["status"] == "failed"
    with pytest.raises(NotGenuine, match="not by the given one"):
        verified(forged, public_key(server))


def test_the_few_lines_of_the_page_check_a_receipt(
    genuine: bytes, server: RunningServer, table_run: Any, tmp_path: Path
) -> None:
    """docs/receipts.md: its program, with nothing of Airlock's, takes a genuine receipt and no other."""
    program = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
    (tmp_path / "airlock.pem").write_bytes(requests.get(f"{server.url}/v1/receipt-key", timeout=30).content)

    def check(receipt: bytes) -> subprocess.CompletedProcess[str]:
        (tmp_path / "receipt.json").write_bytes(receipt)
        return subprocess.run([sys.executable, "-I", "-c", program], cwd=tmp_path, capture_output=True, text=True)

    good, changed = check(genuine), check(genuine.replace(b'"succeeded"', b'"cancelled"'))
    indented = check(json.dumps(json.loads(genuine), indent=1).encode())

    assert (good.returncode, good.stdout) == (0, f"{table_run['id']} succeeded\n"), good.stderr
    assert "InvalidSignature" in changed.stderr
    assert "written anew" in indented.stderr
    assert "airlock" not in "".join(re.findall(r"^(?:import|from).*$", program, re.MULTILINE))


def test_every_member_is_on_the_page(server: RunningServer, mixed: Any) -> None:
    """docs/receipts.md explains each, and none that there is not."""
    said = receipt_of(server, mixed)
    first_cells = re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)

    explained = {name for cell in first_cells for name in re.findall(r"`([a-z0-9_.]+)`", cell)}

    outputs = {f"outputs.{name}" for name in said["outputs"]}
    assert explained == (set(said) - {"outputs"}) | outputs
