"""The stand-in channel: wheels become conda packages with the same content under conda-forge's names."""

from __future__ import annotations

import asyncio
import json
import socket
import tarfile
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import pytest
import rattler
from conda_package_streaming.package_streaming import stream_conda_component
from rattler.index import index_fs

from dev.stand_in import channel, wheels
from dev.stand_in.__main__ import serving
from dev.stand_in.conda_package import PLACEHOLDER
from dev.stand_in.names import conda_name, pypi_name

METADATA = """\
Metadata-Version: 2.4
Name: Pretty.Tables
Version: 1.2.3
Requires-Python: >=3.9, <4
License-Expression: MIT
Requires-Dist: duckdb >=1.0,<3
Requires-Dist: Matplotlib
Requires-Dist: colorama ; sys_platform == "win32"
Requires-Dist: pytest ; extra == "test"
"""


def make_wheel(folder: Path, tags: str) -> Path:
    """A wheel with a module, a script, data and a command."""
    wheel = folder / f"pretty_tables-1.2.3-{tags}.whl"
    info = "pretty_tables-1.2.3.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("pretty_tables/__init__.py", "def main(): print('pretty')\n")
        archive.writestr("pretty_tables-1.2.3.data/scripts/pretty-script", "#!python\nprint('script')\n")
        archive.writestr("pretty_tables-1.2.3.data/data/share/pretty/table.txt", "a table\n")
        archive.writestr("pretty_tables-1.2.3.data/headers/pretty.h", "int pretty;\n")
        archive.writestr(f"{info}/METADATA", METADATA)
        archive.writestr(f"{info}/entry_points.txt", "[console_scripts]\nPretty = pretty_tables:main [extra]\n")
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nTag: {tags}\n")
    return wheel


def parts(package: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A conda package's documents, and its files."""
    content: dict[str, dict[str, bytes]] = {"info": {}, "pkg": {}}
    for component, files in content.items():
        for tar, member in stream_conda_component(package, component=component):
            assert isinstance(member, tarfile.TarInfo)
            file = tar.extractfile(member)
            files[member.name] = file.read() if file else b""
    return {name: json.loads(data) for name, data in content["info"].items()}, content["pkg"]


def test_a_pure_wheel_becomes_a_noarch_package(tmp_path: Path) -> None:
    """Files lie where an installer of noarch packages looks; commands are left to it."""
    wheels.convert(make_wheel(tmp_path, "py3-none-any"), tmp_path / "channel", "3.11")

    info, files = parts(tmp_path / "channel/noarch/pretty-tables-1.2.3-py_0.conda")
    assert info["info/index.json"]["noarch"] == "python"
    assert info["info/link.json"]["noarch"]["entry_points"] == ["Pretty = pretty_tables:main"]
    assert files["site-packages/pretty_tables/__init__.py"] == b"def main(): print('pretty')\n"
    assert files["share/pretty/table.txt"] == b"a table\n"
    assert files["python-scripts/pretty-script"].startswith(f"#!{PLACEHOLDER}/bin/python\n".encode())
    assert not [name for name in files if name.endswith(".h")]


def test_a_binary_wheel_becomes_a_platform_package(tmp_path: Path) -> None:
    """It is bound to its Python and C library, and brings its commands."""
    wheel = make_wheel(tmp_path, "cp311-cp311-manylinux_2_28_x86_64")

    wheels.convert(wheel, tmp_path / "channel", "3.11")

    info, files = parts(tmp_path / "channel/linux-64/pretty-tables-1.2.3-py311_0.conda")
    depends = info["info/index.json"]["depends"]
    assert {"python >=3.11,<3.12.0a0", "__glibc >=2.28,<3.0.a0"} <= set(depends)
    assert files["lib/python3.11/site-packages/pretty_tables/__init__.py"]
    assert b"from pretty_tables import main" in files["bin/Pretty"]


def test_dependencies_are_those_that_hold_on_linux(tmp_path: Path) -> None:
    """Under conda-forge's names; without extras, and without what is for other systems."""
    wheels.convert(make_wheel(tmp_path, "py3-none-any"), tmp_path / "channel", "3.11")

    info, _ = parts(tmp_path / "channel/noarch/pretty-tables-1.2.3-py_0.conda")
    assert info["info/index.json"]["depends"] == [
        "matplotlib-base", "python >=3.9,<4", "python-duckdb <3,>=1.0",
    ]  # fmt: skip


def test_an_installer_puts_the_real_prefix_in(tmp_path: Path) -> None:
    """py-rattler installs the package: paths, permissions and the prefix in scripts come out right."""
    folder, prefix = tmp_path / "channel", tmp_path / "prefix"
    wheels.convert(make_wheel(tmp_path, "cp311-cp311-manylinux_2_28_x86_64"), folder, "3.11")
    asyncio.run(index_fs(folder, write_zst=True, write_shards=False, force=True))

    async def install() -> None:
        repodata = rattler.SparseRepoData(
            rattler.Channel(folder.as_uri()), "linux-64", folder / "linux-64/repodata.json"
        )
        records = repodata.load_records("pretty-tables")
        await rattler.install(records, target_prefix=prefix, cache_dir=tmp_path / "cache", show_progress=False)

    asyncio.run(install())

    command = prefix / "bin/Pretty"
    assert command.read_text().startswith(f"#!{prefix}/bin/python\n")
    assert command.stat().st_mode & 0o111
    assert (prefix / "share/pretty/table.txt").read_text() == "a table\n"


@pytest.mark.parametrize("conda", ["matplotlib-base", "python-duckdb", "pytables", "numpy", "scikit-learn"])
def test_names_go_there_and_back(conda: str) -> None:
    """A package of environment.yml is found on PyPI, and its wheel gets the name that was asked for."""
    assert conda_name(pypi_name(conda)) == conda


def test_a_file_that_is_no_wheel_is_refused(tmp_path: Path) -> None:
    """A zip without metadata is named in the error."""
    wheel = tmp_path / "empty-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("empty.py", "")

    with pytest.raises(ValueError, match=r"any\.whl is no wheel"):
        wheels.convert(wheel, tmp_path / "channel", "3.11")


def test_the_channel_has_the_same_address_every_time(tmp_path: Path) -> None:
    """Docker finds its cached layers only under an unchanged address, so the folder decides the port."""
    folder = tmp_path / "00000000deadbeef"
    folder.mkdir()
    (folder / "file").write_text("content")

    with serving(folder) as first, urllib.request.urlopen(f"{first}/file") as answer:
        content = answer.read()
    with serving(folder) as second:
        pass

    assert content == b"content"
    assert first == second


def test_a_taken_port_is_no_obstacle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another process on the preferred port costs the cache and is said, but the channel is served."""
    folder = tmp_path / "00000000cafef00d"
    folder.mkdir()
    (folder / "file").write_text("content")

    with socket.socket() as other:
        other.bind(("127.0.0.1", 10_000 + 0xCAFEF00D % 20_000))
        other.listen()
        with serving(folder) as url, urllib.request.urlopen(f"{url}/file") as answer:
            content = answer.read()

    assert content == b"content"
    assert "is taken" in capsys.readouterr().err


def test_the_channels_digest_changes_with_its_inputs(tmp_path: Path) -> None:
    """A changed environment makes a new channel; an unchanged one finds the old."""
    environment, installer = tmp_path / "environment.yml", tmp_path / "installer.txt"
    environment.write_text("dependencies: [python]")
    installer.write_text("py-rattler==0.28.0")
    first = channel.digest(environment, installer)

    environment.write_text("dependencies: [python, numpy]")
    second = channel.digest(environment, installer)
    environment.write_text("dependencies: [python]")

    assert second != first
    assert channel.digest(environment, installer) == first
