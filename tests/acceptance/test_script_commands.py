"""`airlock script`, and `airlock run script:NAME`, against the real server and real containers."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from test_command_line import airlock, write

from tests.running import RunningServer

FIRST = "import pandas as pd\ndef azureml_main(*, params):\n    return pd.DataFrame({'n': [params['n']]})\n"


def test_a_script_lives_on_the_command_line(server: RunningServer, tmp_path: Path) -> None:
    """Put, shown, run by name, changed, compared, tagged, deleted."""
    script, options = write(tmp_path, FIRST), tmp_path / "options.json"
    options.write_text(json.dumps({"parameters": {"n": {"type": "string", "default": "7", "description": "shown"}}}))
    bundle = tmp_path / "b.zip"
    with zipfile.ZipFile(bundle, "w") as archive:
        archive.writestr("mine.py", "MORE = 1\n")

    put = airlock(server, "script", "put", "cli-life", script, "--options", options, "--description", "a number")
    same = airlock(server, "script", "put", "cli-life", script, "--options", options, "--description", "a number")
    default = airlock(server, "run", "script:cli-life", "--json")
    given = airlock(server, "run", "script:cli-life@1", "--parameter", "n=8")
    write(tmp_path, FIRST.replace("'n'", "'m'", 1))
    second = json.loads(
        airlock(server, "script", "put", "cli-life", script, "--bundle", bundle, "--options", options, "--json").stdout
    )
    shown = airlock(server, "script", "show", "cli-life@1")
    versions = airlock(server, "script", "show", "cli-life", "--versions")
    diff = airlock(server, "script", "diff", "cli-life", "1")
    no_diff = airlock(server, "script", "diff", "cli-life", "2", "latest")
    source = airlock(server, "script", "source", "cli-life@1")
    tagged = airlock(server, "script", "tag", "cli-life@1", "good")
    good = json.loads(airlock(server, "run", "script:cli-life@good", "--json").stdout)
    untagged = airlock(server, "script", "untag", "cli-life", "good")
    listed = airlock(server, "script", "list", "--prefix", "cli-l")
    deleted = airlock(server, "script", "delete", "cli-life")
    left = airlock(server, "run", "script:cli-life")

    for done in (put, same, default, given, shown, versions, no_diff, source, tagged, untagged, listed, deleted):
        assert done.returncode == 0, done.stderr
    assert put.stdout.startswith("cli-life@1  (latest)")
    assert put.stdout.endswith("a number\n")
    assert same.stdout == put.stdout
    assert json.loads(default.stdout)["script"] == {"name": "cli-life", "version": 1}
    assert "8" in given.stdout
    assert (second["version"], second["bundle_bytes"]) == (2, bundle.stat().st_size)
    assert shown.stdout.splitlines()[1] == '  n: string = "7"  shown'
    assert [line.split()[0] for line in versions.stdout.splitlines()] == ["cli-life@2", "cli-life@1"]
    assert diff.returncode == 1
    assert "+    return pd.DataFrame({'m': [params['n']]})" in diff.stdout.splitlines()
    assert source.stdout == FIRST
    assert good["script"]["version"] == 1
    assert listed.stdout.startswith("cli-life@2  (latest)")
    assert left.returncode == 2
    assert "stored script" in left.stderr


def test_wrong_use_says_what_is_right(server: RunningServer, tmp_path: Path) -> None:
    """Without a number where one is needed; a stored script cannot be run here, nor a batch take a nameless one."""
    tag = airlock(server, "script", "tag", "totals", "good")
    local = airlock(server, "run", "script:totals", "--local")
    nameless = airlock(server, "run", "script:")

    for done, word in ((tag, "NAME@3"), (local, "airlock script source"), (nameless, "script:NAME@3")):
        assert done.returncode == 2, done.stdout + done.stderr
        assert word in done.stderr
