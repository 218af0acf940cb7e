"""Write one `.conda` package: the part of the format that a solver and an installer need."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conda_package_streaming.create import conda_builder

PLACEHOLDER = "/opt/" + "placehold_" * 20 + "prefix"
"""Stands for the prefix in files; the installer puts the real one in its place."""

SOME_TIME_MS = 1_700_000_000_000
"""One fixed time for every package and file, so that the same inputs give the same bytes."""


@dataclass(frozen=True)
class Content:
    """A regular file's bytes and permissions."""

    data: bytes
    mode: int = 0o644


@dataclass
class CondaPackage:
    """What goes into a package. Paths are relative to the prefix, or to noarch's own roots."""

    name: str
    version: str
    build: str
    depends: list[str]
    license: str = ""
    noarch: bool = False
    files: dict[str, Content] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    entry_points: list[str] = field(default_factory=list)
    index: Mapping[str, Any] = field(default_factory=dict)

    def write(self, channel: Path) -> None:
        """Write it into the channel's folder for its platform."""
        subdir = channel / self._subdir
        subdir.mkdir(parents=True, exist_ok=True)
        # Level 1: the package is read once, over loopback.
        with conda_builder(f"{self.name}-{self.version}-{self.build}", subdir, compression_level=1) as tar:
            for path, document in self._info().items():
                _add(tar, path, Content(json.dumps(document).encode()))
            for path, content in self.files.items():
                _add(tar, path, content)
            for path, target in self.links.items():
                member = _member(path)
                member.type, member.linkname = tarfile.SYMTYPE, target
                tar.addfile(member)

    @property
    def _subdir(self) -> str:
        return "noarch" if self.noarch else "linux-64"

    def _info(self) -> dict[str, Any]:
        index: dict[str, Any] = {
            "name": self.name,
            "version": self.version,
            "build": self.build,
            "build_number": 0,
            "depends": sorted(self.depends),
            "license": self.license,
            "subdir": self._subdir,
            "timestamp": SOME_TIME_MS,
            **self.index,
        }
        info: dict[str, Any] = {"info/about.json": {}, "info/index.json": index}
        info["info/paths.json"] = {"paths": self._paths(), "paths_version": 1}
        if self.noarch:
            index["noarch"] = "python"
            noarch = {"type": "python", "entry_points": self.entry_points}
            info["info/link.json"] = {"noarch": noarch, "package_metadata_version": 1}
        else:
            index |= {"arch": "x86_64", "platform": "linux"}
        return info

    def _paths(self) -> list[dict[str, Any]]:
        paths: list[dict[str, Any]] = []
        for path, content in sorted(self.files.items()):
            entry = _path_entry(path, "hardlink", content.data)
            if PLACEHOLDER.encode() in content.data:
                entry |= {"prefix_placeholder": PLACEHOLDER, "file_mode": "text"}
            paths.append(entry)
        return paths + [_path_entry(path, "softlink", b"") for path in sorted(self.links)]


def _path_entry(path: str, kind: str, data: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    return {"_path": path, "path_type": kind, "sha256": digest, "size_in_bytes": len(data)}


def _member(path: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(path)
    member.mtime = SOME_TIME_MS // 1000
    return member


def _add(tar: tarfile.TarFile, path: str, content: Content) -> None:
    member = _member(path)
    member.size, member.mode = len(content.data), content.mode
    tar.addfile(member, io.BytesIO(content.data))
