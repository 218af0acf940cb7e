"""The client's hands for stored scripts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from controller.client.api import Client, script_part, table_type
from controller.client.multipart import MultipartBody, Part

Script = dict[str, Any]


class ScriptClient(Client):
    """A client that knows stored scripts as well. A version is the JSON object that the server answers with."""

    def put_script(
        self,
        name: str,
        script: Path,
        *,
        bundle: Path | None = None,
        dataframe1: Path | None = None,
        dataframe2: Path | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Script:
        """Keep a script under this name: the new version, or the present one when nothing has changed. The tables are
        samples to try it with. Raises ClientError."""
        parts = [script_part(script)]
        if bundle is not None:
            parts.append(Part("bundle", bundle, "application/zip", bundle.name))
        for part, table in (("dataframe1", dataframe1), ("dataframe2", dataframe2)):
            if table is not None:
                parts.append(Part(part, table, table_type(table), table.name))
        if options:
            parts.append(Part("options", json.dumps(dict(options)).encode(), "application/json"))
        body = MultipartBody(parts)
        return self._json("PUT", _path(name), data=body, headers={"Content-Type": body.content_type})

    def script(self, name: str, which: str | None = None) -> Script:
        """The version of this number or tag, or the newest."""
        return self._json("GET", _path(name), params=_which(which))

    def scripts(self, prefix: str = "") -> Iterator[Script]:
        """The newest version of each script, newest first, page after page."""
        yield from self._pages("/v1/scripts", {"prefix": prefix} if prefix else {})

    def script_versions(self, name: str) -> Iterator[Script]:
        """Every version of a script, newest first."""
        yield from self._pages(f"{_path(name)}/versions", {})

    def script_source(self, name: str, which: str | None = None) -> bytes:
        """The text, byte for byte as it was put."""
        with self._open("GET", f"{_path(name)}/source", params=_which(which)) as answer:
            return answer.content

    def tag_script(self, name: str, tag: str, version: int) -> Script:
        """Put a tag on this version, wherever it was before."""
        return self._json("PUT", f"{_path(name)}/tags/{quote(tag, safe='')}", json={"version": version})

    def untag_script(self, name: str, tag: str) -> None:
        """Take a tag away."""
        with self._open("DELETE", f"{_path(name)}/tags/{quote(tag, safe='')}"):
            pass

    def delete_script(self, name: str, version: int | None = None) -> None:
        """Delete this version, or all of them."""
        with self._open("DELETE", _path(name), params={} if version is None else {"version": version}):
            pass


def _path(name: str) -> str:
    return f"/v1/scripts/{quote(name, safe='')}"


def _which(which: str | None) -> dict[str, str]:
    return {"which": which} if which else {}
