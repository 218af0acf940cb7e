"""options.reuse: the result of an equal run that was done before, for those who ask for it."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.running import RunningServer

RANDOM = """
import numpy as np
import pandas as pd
def azureml_main(df=None, params=None):
    print("drawing")
    return pd.DataFrame({"r": np.random.default_rng().random(3)})
"""
TABLE = {"dataframe1": ("t.csv", b"a\n1\n", "text/csv")}


def numbers(server: RunningServer, run: Any) -> Any:
    return server.get(f"/v1/runs/{run['id']}/output", headers={"Accept": "application/json"}).json()


@pytest.fixture
def first(make_tenant: Any) -> tuple[RunningServer, Any]:
    """A tenant, and the run whose result may be taken again."""
    tenant = make_tenant()
    run = tenant.submit(RANDOM, files=TABLE, reuse=True)
    assert (run["status"], run["reused_from"]) == ("succeeded", None)
    return tenant, run


def test_an_equal_run_takes_the_earlier_result(first: tuple[RunningServer, Any]) -> None:
    """Answered at once, with the earlier run's table, log and name; and it may be taken once more."""
    tenant, run = first

    again = tenant.submit(RANDOM, files=TABLE, reuse=True, wait=0)
    third = tenant.submit(RANDOM, files=TABLE, reuse=True, wait=0)

    assert [r["status"] for r in (again, third)] == ["succeeded"] * 2
    assert [r["reused_from"] for r in (again, third)] == [run["id"]] * 2
    assert again["id"] != run["id"]
    assert numbers(tenant, again) == numbers(tenant, run)
    assert tenant.log(again) == "drawing\n"
    assert again["usage"]["wall_seconds"] is None


def test_without_the_option_a_script_runs(first: tuple[RunningServer, Any]) -> None:
    """Whoever asks for a run gets one."""
    tenant, run = first

    fresh = tenant.submit(RANDOM, files=TABLE)

    assert fresh["reused_from"] is None
    assert numbers(tenant, fresh) != numbers(tenant, run)


@pytest.mark.parametrize(
    ("script", "files", "options"),
    [
        pytest.param(RANDOM + "\n", TABLE, {}, id="script"),
        pytest.param(RANDOM, {"dataframe1": ("t.csv", b"a\n2\n", "text/csv")}, {}, id="table"),
        pytest.param(RANDOM, {"dataframe1": ("t.tsv", b"a\n1\n", "")}, {}, id="format"),
        pytest.param(RANDOM, {**TABLE, "dataframe2": ("t.csv", b"a\n1\n", "text/csv")}, {}, id="second-table"),
        pytest.param(RANDOM, TABLE, {"parameters": {"seed": 1}}, id="parameters"),
        pytest.param(RANDOM, TABLE, {"profile": "lenient"}, id="profile"),
        pytest.param(RANDOM, TABLE, {"dataframe1": {"columns": ["a"]}}, id="reading"),
    ],
)
def test_whatever_decides_the_result_makes_another_run(
    first: tuple[RunningServer, Any], script: str, files: dict[str, Any], options: dict[str, Any]
) -> None:
    """One byte of the script or of a table, a parameter, the profile: nothing is reused."""
    tenant, _ = first

    other = tenant.submit(script, files=files, reuse=True, **options)

    assert (other["status"], other["reused_from"]) == ("succeeded", None), other


def test_another_tenants_result_is_not_taken(first: tuple[RunningServer, Any], make_tenant: Any) -> None:
    """Equal or not: nobody learns from an answer's speed what others run."""
    stranger = make_tenant()

    run = stranger.submit(RANDOM, files=TABLE, reuse=True)

    assert run["reused_from"] is None


def test_a_failed_run_is_done_again(make_tenant: Any) -> None:
    """Only what succeeded is worth keeping."""
    tenant = make_tenant()
    runs = [tenant.submit("def azureml_main():\n    1 / 0\n", reuse=True) for _ in range(2)]

    assert [(run["status"], run["reused_from"]) for run in runs] == [("failed", None)] * 2


@pytest.mark.parametrize("gone", [["result.arrow"], ["result.arrow", "result.csv", "log"]], ids=["table", "all"])
def test_a_result_whose_files_are_gone_is_made_anew(first: tuple[RunningServer, Any], gone: list[str]) -> None:
    """As where retention takes them in that very moment: nothing of the earlier run is kept, and the script runs."""
    tenant, run = first
    directory = tenant.data_dir / "runs" / run["id"]
    (directory / "result.csv").write_bytes(b"stale")
    for name in gone:
        (directory / name).unlink()

    again = tenant.submit(RANDOM, files=TABLE, reuse=True)

    assert (again["status"], again["reused_from"]) == ("succeeded", None)
    assert len(numbers(tenant, again)) == 3
    assert "stale" not in tenant.get(f"/v1/runs/{again['id']}/output", headers={"Accept": "text/csv"}).text
    assert tenant.submit(RANDOM, files=TABLE, reuse=True)["reused_from"] == again["id"]


def test_a_result_with_all_its_links_is_made_anew(first: tuple[RunningServer, Any]) -> None:
    """A file system bounds how many runs may share a file (ext4: 65,000); the next run has one of its own."""
    tenant, run = first
    table = tenant.data_dir / "runs" / run["id"] / "result.arrow"
    links = tenant.data_dir / "links"
    links.mkdir()
    with suppress(OSError):  # where there is no such bound, it is reused
        for n in range(70_000):
            os.link(table, links / str(n))
    bounded = table.stat().st_nlink < 70_000

    again, third = (tenant.submit(RANDOM, files=TABLE, reuse=True) for _ in range(2))
    csv = tenant.get(f"/v1/runs/{run['id']}/output", headers={"Accept": "text/csv"})
    shutil.rmtree(links)

    assert [one["status"] for one in (again, third)] == ["succeeded"] * 2
    assert [one["reused_from"] for one in (again, third)] == ([None, again["id"]] if bounded else [run["id"]] * 2)
    assert csv.status_code == 200
    assert csv.text.startswith('"r"')


def test_either_run_may_be_deleted(first: tuple[RunningServer, Any]) -> None:
    """The result belongs to both: with the first one gone the second keeps it, and it can still be taken again."""
    tenant, run = first
    again = tenant.submit(RANDOM, files=TABLE, reuse=True)
    before = numbers(tenant, again)

    assert tenant.request("DELETE", f"/v1/runs/{run['id']}").status_code == 204

    assert numbers(tenant, again) == before
    assert tenant.submit(RANDOM, files=TABLE, reuse=True)["reused_from"] == run["id"]
