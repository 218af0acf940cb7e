"""`airlock serve` starts once for a data directory, hands over its key once, and says why when it cannot."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import requests

from tests.running import free_port


def serve(data_dir, *arguments, **env):
    """A start that is expected to fail: what it said, and its exit code."""
    return subprocess.run(
        [sys.executable, "-m", "controller.cli", "serve", *arguments],
        env={**os.environ, "AIRLOCK_DATA_DIR": str(data_dir), "AIRLOCK_PORT": str(free_port()), **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_second_server_on_the_same_data_is_refused(make_server):
    """It would sweep away the first one's containers."""
    first = make_server()

    second = serve(first.data_dir)

    assert second.returncode == 3
    assert "data_in_use" in second.stderr
    assert str(first.data_dir) in second.stderr
    assert first.get("/readyz").status_code == 200


def test_the_first_key_is_given_once_and_to_its_owner_only(make_server, tmp_path):
    """The key file is private; a second start makes no other key and leaves the file alone."""
    first = make_server()
    key_file = tmp_path / "data.key"
    mode, text = key_file.stat().st_mode & 0o777, key_file.read_text()
    first.stop()

    second = make_server()

    assert mode == 0o600
    assert key_file.read_text() == text
    assert second.get("/v1/runs").status_code == 200


def test_the_data_directory_is_closed_to_others(make_server):
    """0700, whatever it was before."""
    server = make_server()

    assert server.data_dir.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("where", "word"), [("/proc/airlock", "/proc/airlock"), ("/dev/null/airlock", "Not a directory")]
)
def test_a_data_directory_that_cannot_be_made_is_named(where, word):
    """Exit code 2 and one line, no traceback."""
    done = serve(where)

    assert done.returncode == 2
    assert word in done.stderr
    assert "Traceback" not in done.stderr


def test_a_key_file_that_cannot_be_written_makes_no_key(make_server, tmp_path):
    """The key is made only when it can be handed over: the next start still has it to give."""
    done = serve(tmp_path / "data", "--key-file", "/proc/none/key")

    server = make_server()

    assert done.returncode == 2
    assert server.key.startswith("alk_")


def test_no_key_and_no_script_is_ever_logged(make_server):
    """The server's log holds ids and codes; what tenants send and prove themselves with stays out."""
    server = make_server()
    server.submit("# secret-in-script\nprint('secret-in-output')\nraise ValueError('secret-in-error')\n")
    requests.get(f"{server.url}/v1/runs", headers={"Authorization": f"Bearer {server.key[:-1]}x"}, timeout=10)
    server.stop()

    log = server.log_path.read_text()

    assert "run_finished" in log
    for secret in (server.key, server.key.split("_")[2], "secret-in-script", "secret-in-output", "secret-in-error"):
        assert secret not in log
