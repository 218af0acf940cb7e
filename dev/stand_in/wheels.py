"""Turn a wheel into a conda package: same files, conda's layout, dependencies under conda-forge's names."""

from __future__ import annotations

import email
import re
import stat
import zipfile
from configparser import ConfigParser
from email.message import Message
from pathlib import Path

from packaging.requirements import Requirement
from packaging.tags import Tag
from packaging.utils import parse_wheel_filename

from dev.stand_in.conda_package import PLACEHOLDER, CondaPackage, Content
from dev.stand_in.names import conda_name

_SHEBANG = f"#!{PLACEHOLDER}/bin/python\n"


def convert(wheel: Path, channel: Path, python: str) -> None:
    """Write `wheel` into `channel` as a package for Python `python` (such as 3.11)."""
    project, version, _, tags = parse_wheel_filename(wheel.name)
    pure = all(tag.platform == "any" for tag in tags)
    with zipfile.ZipFile(wheel) as archive:
        dist_info = _dist_info(archive)
        metadata = email.message_from_bytes(archive.read(f"{dist_info}/METADATA"))
        commands = _console_scripts(archive, dist_info)
        site = "site-packages" if pure else f"lib/python{python}/site-packages"
        files = _files(archive, site, "python-scripts" if pure else "bin")
    files[f"{site}/{dist_info}/INSTALLER"] = Content(b"conda\n")
    if not pure:  # the installer writes the commands of noarch packages itself
        files |= {f"bin/{name}": _command(target) for name, target in commands.items()}
    CondaPackage(
        name=conda_name(project),
        version=str(version),
        build="py_0" if pure else f"py{python.replace('.', '')}_0",
        depends=[_python_dependency(metadata, pure, python), *_glibc(tags), *_dependencies(metadata, python)],
        license=metadata.get("License-Expression", ""),
        noarch=pure,
        files=files,
        entry_points=[f"{name} = {target}" for name, target in commands.items()],
    ).write(channel)


def _dist_info(archive: zipfile.ZipFile) -> str:
    for name in archive.namelist():
        if re.fullmatch(r"[^/]+\.dist-info/METADATA", name):
            return name.partition("/")[0]
    raise ValueError(f"{archive.filename} is no wheel: it has no METADATA")


def _files(archive: zipfile.ZipFile, site: str, scripts: str) -> dict[str, Content]:
    """The wheel's files by their place in a conda package; `name.data/` is spread as an installer would."""
    roots = {"scripts": scripts + "/", "data": "", "purelib": site + "/", "platlib": site + "/"}
    files = {}
    for entry in archive.infolist():
        if entry.is_dir():
            continue
        data = archive.read(entry)
        mode = 0o755 if (entry.external_attr >> 16) & stat.S_IXUSR else 0o644
        path = f"{site}/{entry.filename}"
        if spread := re.fullmatch(r"[^/]+\.data/([^/]+)/(.+)", entry.filename):
            kind, rest = spread.groups()
            if kind == "headers":
                continue
            path = roots[kind] + rest
            if kind == "scripts":
                mode, data = 0o755, re.sub(rb"\A#!pythonw?[^\n]*\n", _SHEBANG.encode(), data)
        files[path] = Content(data, mode)
    return files


def _console_scripts(archive: zipfile.ZipFile, dist_info: str) -> dict[str, str]:
    """Command name -> `module:function`."""
    name = f"{dist_info}/entry_points.txt"
    if name not in archive.namelist():
        return {}
    parser = ConfigParser(delimiters=("=",), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names keep their case
    parser.read_string(archive.read(name).decode())
    if not parser.has_section("console_scripts"):
        return {}
    return {key: value.partition("[")[0].strip() for key, value in parser.items("console_scripts")}


def _command(target: str) -> Content:
    module, _, function = target.partition(":")
    first = function.partition(".")[0]
    lines = f"{_SHEBANG}import sys\nfrom {module} import {first}\nsys.exit({function}())\n"
    return Content(lines.encode(), 0o755)


def _python_dependency(metadata: Message, pure: bool, python: str) -> str:
    if pure:
        return f"python {metadata.get('Requires-Python', '').replace(' ', '')}".strip()
    minor = int(python.partition(".")[2])
    return f"python >={python},<3.{minor + 1}.0a0"


def _glibc(tags: frozenset[Tag]) -> list[str]:
    needs = [int(found[1]) for tag in tags if (found := re.match(r"manylinux_2_(\d+)_", tag.platform))]
    return [f"__glibc >=2.{min(needs)},<3.0.a0"] if needs else []


def _dependencies(metadata: Message, python: str) -> list[str]:
    """Those of the wheel's requirements that hold for Linux on x86-64, without any extra."""
    environment = {
        "extra": "",
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
    }
    depends = []
    for requirement in map(Requirement, metadata.get_all("Requires-Dist") or []):
        if requirement.marker is None or requirement.marker.evaluate(environment):
            versions = ",".join(sorted(map(str, requirement.specifier)))
            depends.append(f"{conda_name(requirement.name)} {versions}".strip())
    return depends
