"""`airlock admin`, `keys` and `usage`: a day of an operator's, with the program itself against a server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.running import RunningServer

Airlock = Callable[..., str]
SLEEPER = "import time\ndef azureml_main(a=None, b=None):\n    time.sleep(60)\n"


def run_airlock(url: str, key: str, *arguments: str | Path, code: int = 0) -> str:
    """The program's standard output; it must end with this exit code."""
    done = subprocess.run(
        [sys.executable, "-m", "controller.cli", *map(str, arguments)],
        env={**os.environ, "AIRLOCK_URL": url, "AIRLOCK_KEY": key},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stdout + done.stderr


@pytest.fixture
def operator(server: RunningServer) -> Airlock:
    return lambda *arguments, code=0: run_airlock(server.url, server.key, "admin", *arguments, code=code)


def test_a_tenant_from_its_first_key_to_its_end(server: RunningServer, operator: Airlock) -> None:
    """Made with quotas, used with its key, changed, suspended, resumed, deleted."""
    operator("tenant", "create", "acceptance", "--quota", "concurrent_runs=2", "--quota", "stored_bytes=1GiB")
    key = operator("key", "create", "acceptance", "first", "--scope", "run", "--scope", "tenant_admin").strip()
    shown = json.loads(operator("tenant", "show", "acceptance"))
    assert shown["quotas"] == {"concurrent_runs": 2, "stored_bytes": 1 << 30}
    assert re.fullmatch(r"alk_[a-z0-9]{16}_[A-Za-z0-9]{43}_[0-9a-f]{8}", key)

    def mine(*arguments: str, code: int = 0) -> str:
        return run_airlock(server.url, key, *arguments, code=code)

    assert json.loads(mine("usage"))["quotas"]["concurrent_runs"] == 2
    made = json.loads(mine("keys", "create", "nightly", "--scope", "run", "--days", "1", "--json"))
    rotated = mine("keys", "rotate", made["id"], "--grace", "0").strip()
    assert json.loads(mine("keys", "show", made["id"]))["replaced_by"] == rotated.split("_")[1]
    mine("keys", "revoke", rotated.split("_")[1])
    assert [line.split()[1] for line in mine("keys", "list").splitlines()] == ["ended", "ended", "live"]
    assert "scope_not_held" in mine("keys", "create", "more", "--scope", "admin", code=2)
    assert "forbidden" in mine("admin", "tenant", "list", code=2)
    operator("tenant", "change", "acceptance", "--quota", "cpus=none", "--name", "acceptance 2")
    assert json.loads(operator("tenant", "show", "acceptance 2"))["quotas"]["cpus"] is None
    operator("tenant", "change", "acceptance 2", "--default-quotas")
    assert json.loads(operator("tenant", "show", shown["id"]))["quotas"] == {}
    assert "suspended" in operator("tenant", "suspend", "acceptance 2")
    assert "tenant_suspended" in mine("usage", code=2)
    assert "active" in operator("tenant", "resume", "acceptance 2")
    mine("usage")
    assert operator("tenant", "delete", "acceptance 2", "--yes").split() == [shown["id"], "deleted"]
    assert "unauthorized" in mine("usage", code=2)
    assert "no tenant named" in operator("tenant", "show", "acceptance 2", code=2)
    assert "NAME=VALUE" in operator("tenant", "create", "x", "--quota", "cpu=1", code=2)


def test_runs_engine_usage_and_keys_of_others(server: RunningServer, operator: Airlock) -> None:
    """Everybody's runs are listed and killed; the engine is shown; drain, maintenance, resume."""
    run = server.submit(SLEEPER, wait=0)

    assert run["id"] in operator("runs", "list", "--limit", "20")
    assert run["id"] in operator("runs", "kill", run["id"])
    assert server.get(f"/v1/runs/{run['id']}?wait=30").json()["status"] == "cancelled"
    assert json.loads(operator("engine", "show"))["mode"]["mode"] == "open"
    assert operator("engine", "drain").startswith("draining; at work: ")
    assert operator("engine", "maintenance", "new disks", "--retry", "100").strip() == "maintenance"
    assert operator("engine", "resume").strip() == "open"
    assert "default (default)" in operator("environments")
    assert operator("sweep").strip() == "0 containers removed"
    assert " runs " in operator("usage", "--tenant", "default", "--since", "2020-01-01")
    first = json.loads(operator("key", "list", "default", "--json").splitlines()[-1])
    made = operator("key", "rotate", "default", first["id"], "--grace", "600").strip()
    run_airlock(server.url, made, "usage")
    operator("key", "revoke", "default", made.split("_")[1])
    run_airlock(server.url, made, "usage", code=2)


def test_the_audit_log_is_kept_and_checked(server: RunningServer, operator: Airlock, tmp_path: Path) -> None:
    """Exported, followed from the server and from the file; a line that was changed is named, with exit code 1."""
    file = tmp_path / "audit.ndjson"
    operator("tenant", "create", "audited by the program")
    assert "tenant.create" in operator("audit", "list", "--action", "tenant.create")

    head = re.search(r"head (\d+:[0-9a-f]{64})", operator("audit", "verify"))
    operator("audit", "export", file)

    assert head is not None
    assert operator("audit", "verify", "--head", head[1]).startswith("whole: ")
    lines = file.read_text().splitlines()
    assert run_airlock("http://127.0.0.1:1", "", "admin", "audit", "verify", "--file", file).startswith("whole: ")
    changed = json.loads(lines[1]) | {"action": "nothing"}
    file.write_text("\n".join([lines[0], json.dumps(changed), *lines[2:]]) + "\n")
    assert operator("audit", "verify", "--file", file, code=1).startswith("row 2 was changed")
    file.write_text("\n".join([*lines[:2], *lines[3:]]) + "\n")
    assert operator("audit", "verify", "--file", file, code=1).startswith("row 3 is missing")
    wrong = f"{head[1].split(':')[0]}:{'0' * 64}"
    assert "not the row" in operator("audit", "verify", "--head", wrong, code=1)
    file.write_text("no export\n")
    assert "no export" in operator("audit", "verify", "--file", file, code=2)
