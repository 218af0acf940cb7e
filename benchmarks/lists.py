"""What does a page of a list cost, at a million runs?

    python benchmarks/lists.py [--runs 1000000]

Fills a database of its own with runs of ten tenants, and times pages of 50 (of the largest tenant, which has most of
them) as `GET /v1/runs` asks for them: the first, the middle and the last, under each filter. The promise: 50 ms.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from controller.config import Settings
from controller.model import Job, Outcome, Output, Status
from controller.store.base import RunFilter
from controller.store.database import Database
from controller.store.sql import SqlStore

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
STATES = [Status.SUCCEEDED] * 17 + [Status.FAILED] * 2 + [Status.CANCELLED]


def rows(count: int) -> Iterator[tuple[Any, ...]]:
    job, limits = Job().model_dump_json(), Settings().limits().model_dump_json()
    for n in range(count):
        status = STATES[n % len(STATES)]
        output = Output(rows=1, columns=(), bytes=500)
        outcome = Outcome(status=status, output=output).model_dump_json()
        created = (BEGAN + timedelta(seconds=n)).replace(tzinfo=None).isoformat(" ")
        tenant, batch = f"ten_{0 if n % 10 else n % 100 // 10}", f"bat_{n // 500}" if n % 3 == 0 else None
        origin = batch, f"ept_{n % 7}" if n % 3 == 1 else None
        yield f"run_{n:08}", tenant, str(status), f"{n % 1000:064x}", job, limits, created, created, outcome, *origin


def fill(path: Path, count: int) -> None:
    db = sqlite3.connect(path)
    with db:
        db.executemany(
            "INSERT INTO tenants (id, name, created_at) VALUES (?, ?, '2026-01-01 00:00:00.000000')",
            [(f"ten_{n}", str(n)) for n in range(10)],
        )
        db.executemany(
            "INSERT INTO runs (id, tenant_id, status, script_sha256, job, limits, created_at, finished_at, outcome,"
            " batch_id, endpoint_id, attempt, cancel_requested, environment)"
            " VALUES (?,?,?,?,?,?,?,?,?,?,?,1,0,'default')",
            rows(count),
        )
    db.close()


def main() -> None:
    arguments = argparse.ArgumentParser(description="pages of lists at a million runs")
    arguments.add_argument("--runs", type=int, default=1_000_000)
    count = arguments.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "airlock.db"
        database = Database(f"sqlite:///{path}")
        database.migrate()
        fill(path, count)
        store = SqlStore(database)
        filters = {
            "no filter": RunFilter(),
            "status": RunFilter(status=Status.FAILED),
            "script": RunFilter(script_sha256=f"{7:064x}"),
            "batch": RunFilter(batch_id="bat_100"),
            "batch and status": RunFilter(batch_id="bat_100", status=Status.FAILED),
            "endpoint": RunFilter(endpoint_id="ept_3"),
            "endpoint and status": RunFilter(endpoint_id="ept_3", status=Status.FAILED),
            "age": RunFilter(created_after=BEGAN + timedelta(seconds=count // 2)),
            "script and status": RunFilter(script_sha256=f"{7:064x}", status=Status.SUCCEEDED),
            "none match": RunFilter(status=Status.RUNNING),
        }
        print(f"{count} runs{'':12}{'first ms':>10}{'middle ms':>11}{'last ms':>9}")
        for name, wanted in filters.items():
            figures = []
            for place in (1.0, 0.5, 0.0):
                before = BEGAN + timedelta(seconds=count * place + 60), "z"
                seconds = []
                for _ in range(20):
                    began = time.perf_counter()
                    store.runs("ten_0", 50, wanted, before)
                    seconds.append(time.perf_counter() - began)
                figures.append(statistics.median(seconds) * 1000)
            print(f"{name:24}{figures[0]:10.1f}{figures[1]:11.1f}{figures[2]:9.1f}", flush=True)
        database.close()


if __name__ == "__main__":
    main()
