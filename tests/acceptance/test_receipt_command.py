"""A receipt in the hands of its user: fetched, saved, and checked offline; and a server whose key is damaged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from controller.signing import SigningKey
from tests.running import RunningServer, free_port

ROOT = Path(__file__).parents[2]
SCRIPT = """
import matplotlib.pyplot as plt

def azureml_main(frame):
    print("\u00e4 line")
    frame.plot()
    plt.savefig("plot.png")
    return frame
"""


def airlock(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line, run to its end."""
    command = [sys.executable, "-m", "controller.cli", *map(str, arguments)]
    env = {**os.environ, "AIRLOCK_URL": "http://127.0.0.1:9", **environment}  # where nobody answers
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)


@dataclass
class Desk:
    """What lies on a user's desk after a run."""

    folder: Path
    server: RunningServer

    def __getitem__(self, name: str) -> Path:
        return self.folder / name

    def on_server(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return airlock(*arguments, AIRLOCK_URL=self.server.url, AIRLOCK_KEY=self.server.key)


@pytest.fixture(scope="module")
def desk(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A run by the command line: its files, its receipt, and the server's public key."""
    made = Desk(tmp_path_factory.mktemp("desk"), server)
    made["job.py"].write_text(SCRIPT)
    made["in.csv"].write_text("n\n1\n2\n")
    made["airlock.pem"].write_bytes(requests.get(f"{server.url}/v1/receipt-key", timeout=30).content)
    done = made.on_server(
        "run", made["job.py"], "--dataframe1", made["in.csv"], "--output", made["out.parquet"],
        "--images", made["plots"], "--receipt", made["receipt.json"],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"receipt: {made['receipt.json']}\n" in done.stdout
    run_id = json.loads(made["receipt.json"].read_bytes())["run_id"]
    made["log.txt"].write_text(server.get(f"/v1/runs/{run_id}/log").text)
    return made


def test_a_receipt_and_its_files_are_checked_offline(desk: Desk) -> None:
    """With no server in reach: who signed it, and each file by what it is."""
    done = airlock(
        "verify", desk["receipt.json"], "--key", desk["airlock.pem"], "--script", desk["job.py"],
        "--dataframe1", desk["in.csv"], "--output", desk["out.parquet"], "--output", desk["plots/plot.png"],
        "--output", desk["log.txt"],
    )  # fmt: skip

    receipt = json.loads(desk["receipt.json"].read_bytes())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"unchanged since it was signed by the key {receipt['signature']['key_id']}",
        f"{receipt['run_id']}: succeeded, {receipt['finished_at']}",
        f"environment default {receipt['environment']['digest']}",
        f"script: {desk['job.py']} is the one",
        f"dataframe1: {desk['in.csv']} is the one",
        f"output: {desk['out.parquet']} is the table of port 1 as parquet",
        f"output: {desk['plots/plot.png']} is the image plot.png",
        f"output: {desk['log.txt']} is the log",
    ]


def test_without_a_key_it_says_what_is_not_proved(desk: Desk) -> None:
    """Good, as far as it goes; and that is said plainly."""
    done = airlock("verify", desk["receipt.json"])

    assert done.returncode == 0
    assert "without --key this proves only that the receipt is unchanged, not whose it is" in done.stderr


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--script", "script: {file} is another; its SHA-256 is "),
        ("--dataframe1", "dataframe1: {file} is another"),
        ("--dataframe2", "dataframe2: the run had none"),
        ("--bundle", "bundle: the run had none"),
        ("--output", "output: {file} is none that the receipt names"),
    ],
)
def test_the_first_file_that_differs_is_named(desk: Desk, tmp_path: Path, option: str, words: str) -> None:
    """Exit code 1; the signature was good all the same."""
    other = tmp_path / "other"
    other.write_text("n\n1\n3\n")

    done = airlock("verify", desk["receipt.json"], "--key", desk["airlock.pem"], option, other)

    assert done.returncode == 1
    assert done.stderr.startswith("airlock: " + words.format(file=other))
    assert done.stdout.startswith("unchanged since")


def test_a_changed_receipt_is_refused(desk: Desk, tmp_path: Path) -> None:
    """Changed, cut, empty, of another server: exit code 1 and why."""
    genuine = desk["receipt.json"].read_bytes()
    document = json.loads(genuine)
    del document["signature"]
    cases = {
        genuine.replace(b'"attempt":1', b'"attempt":2'): "it was changed since it was signed",
        genuine[:-1]: "it is not JSON",
        b"": "it is not JSON",
        json.dumps(json.loads(genuine), indent=1).encode(): "written anew by another program",
        SigningKey(Ed25519PrivateKey.generate()).signed(document): "not by the given one",
    }
    file = tmp_path / "receipt.json"

    for data, words in cases.items():
        file.write_bytes(data)
        done = airlock("verify", file, "--key", desk["airlock.pem"])
        assert (done.returncode, done.stdout) == (1, ""), words
        assert words in done.stderr
        assert "Traceback" not in done.stderr


def test_who_signs_adds_no_lines_to_what_is_said(desk: Desk, tmp_path: Path) -> None:
    """Without a key the words of a receipt are anybody's: one that looks like a line of ours stays within its own."""
    document = json.loads(desk["receipt.json"].read_bytes())
    del document["signature"]
    forged = document | {"finished_at": "now\nscript: job.py is the one", "reused_from": "run_1\nbundle: b.zip"}
    file = tmp_path / "forged.json"
    file.write_bytes(SigningKey(Ed25519PrivateKey.generate()).signed(forged))

    done = airlock("verify", file)

    assert done.returncode == 0
    first = [line.split()[0] for line in done.stdout.splitlines()]
    assert first == ["unchanged", f"{document['run_id']}:", "environment", "its"]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({}, "a version that this program does not know"),
        ({"version": 2}, "a version that this program does not know"),
        ({"version": 1}, "does not say what a receipt says"),
        ({"version": 1, "environment": []}, "does not say what a receipt says"),
    ],
)
def test_what_is_signed_but_no_receipt_is_refused(tmp_path: Path, document: dict[str, Any], words: str) -> None:
    """Anybody can sign anything: it is refused by name, not by a crash."""
    file = tmp_path / "receipt.json"
    file.write_bytes(SigningKey(Ed25519PrivateKey.generate()).signed(document))

    done = airlock("verify", file)

    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_fifty_megabytes_of_junk_are_refused(tmp_path: Path) -> None:
    """Without reading all of it: by its size."""
    file = tmp_path / "receipt.json"
    file.write_bytes(b'{"a":' + b"[" * (50 << 20))

    done = airlock("verify", file)

    assert done.returncode == 1
    assert "a receipt has at most 16777216" in done.stderr


@pytest.mark.parametrize("arguments", [["missing"], ["{receipt}", "--key", "{receipt}"], []])
def test_wrong_use_is_code_2(desk: Desk, arguments: list[str]) -> None:
    """No such file, a key that is none, no receipt at all."""
    done = airlock("verify", *(argument.format(receipt=desk["receipt.json"]) for argument in arguments))

    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_verify_needs_no_library_of_the_server(desk: Desk) -> None:
    """click and cryptography, and nothing that talks to a server, a database or Docker."""
    program = """
import sys
from controller.cli.main import cli
try:
    cli(["verify", sys.argv[1]])
except SystemExit as end:
    code = end.code
print(code, *sorted({name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)))
"""
    command = [sys.executable, "-c", program, str(desk["receipt.json"])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    unwanted = {"flask", "pydantic", "requests", "docker", "sqlalchemy", "gunicorn", "alembic", "pyarrow", "werkzeug"}

    assert {"0", "click", "cryptography"} <= loaded
    assert unwanted & loaded == set()


def test_a_receipt_is_fetched_by_its_runs_id(desk: Desk, tmp_path: Path) -> None:
    """Saved byte for byte; printed with a line break behind it, which does not matter."""
    genuine = desk["receipt.json"].read_bytes()
    run_id = json.loads(genuine)["run_id"]

    saved = desk.on_server("receipt", run_id, "--output", tmp_path / "saved.json")
    printed = desk.on_server("receipt", run_id)
    missing = desk.on_server("receipt", "run_none")
    (tmp_path / "printed.json").write_text(printed.stdout)

    assert (saved.returncode, (tmp_path / "saved.json").read_bytes()) == (0, genuine)
    assert (printed.returncode, printed.stdout.encode()) == (0, genuine + b"\n")
    assert airlock("verify", tmp_path / "printed.json").returncode == 0
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "not_found" in missing.stderr


def test_a_failed_runs_receipt_is_saved_as_well(desk: Desk, tmp_path: Path) -> None:
    """However it ended; with --json nothing else is printed."""
    script = tmp_path / "fails.py"
    script.write_text("def azureml_main():\n    1 / 0\n")

    done = desk.on_server("run", script, "--json", "--receipt", tmp_path / "receipt.json")

    assert done.returncode == 1
    assert json.loads(done.stdout)["status"] == "failed"
    assert json.loads((tmp_path / "receipt.json").read_bytes())["error_code"] == "0085"


def test_a_local_run_has_none(tmp_path: Path) -> None:
    """Refused before it is begun: nobody vouches for it."""
    script = tmp_path / "job.py"
    script.write_text("def azureml_main():\n    open('/tmp/never', 'x')\n")

    done = airlock("run", "--local", script, "--receipt", tmp_path / "receipt.json")

    assert done.returncode == 2
    assert "a local run has none" in done.stderr
    assert not (tmp_path / "receipt.json").exists()


def test_a_damaged_key_stops_the_start(make_server: Callable[..., RunningServer]) -> None:
    """Exit code 3 and what to do; the key is left as it is, and put right the server starts again."""
    server = make_server()
    server.stop()
    file = server.data_dir / "receipt.key"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])

    done = subprocess.run(
        [sys.executable, "-m", "controller.cli", "serve"],
        env={**os.environ, "AIRLOCK_DATA_DIR": str(server.data_dir), "AIRLOCK_PORT": str(free_port())},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 3
    assert f"airlock: receipt_key_unusable: {file} holds no private key" in done.stderr
    assert "restore it from a backup" in done.stderr
    assert "Traceback" not in done.stderr
    assert file.read_bytes() == whole[: len(whole) // 2]
    file.write_bytes(whole)
    assert make_server(key=server.key).get("/v1/runs").status_code == 200
