"""`airlock verify`: is a receipt what a server signed, and are these files those that it names? Offline.

Needs no server, none of its libraries, and no trust in whoever handed the receipt over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from controller.cli.terminal import safe_text
from controller.signing import MAX_DOCUMENT_BYTES, NotGenuine, PublicKey, read_public_key, verified

AS_SIGNED, DIFFERS, WRONG_USE = 0, 1, 2
"""Exit codes: those of the other commands, without the client that they come with."""
VERSION = 1
_MAX_KEY_BYTES = 64 << 10
_UNKNOWN_KEY = (
    "warning: without --key this proves only that the receipt is unchanged, not whose it is: "
    "get the server's key from its operator, or from /v1/receipt-key"
)


class Difference(Exception):
    """A file is not the one that the receipt names; the message says which, and what was expected."""


@dataclass(frozen=True)
class Files:
    """What the user has, to be compared with what the receipt names."""

    script: Path | None = None
    dataframe1: Path | None = None
    dataframe2: Path | None = None
    bundle: Path | None = None
    outputs: Sequence[Path] = ()


def verify(receipt: Path, key: Path | None, files: Files) -> int:
    """Check the signature, then the files, and say what was found; the exit code."""
    try:
        trusted = _trusted(key) if key is not None else None
        data = _beginning(receipt, MAX_DOCUMENT_BYTES + 1)
    except (OSError, ValueError) as error:
        click.echo(f"airlock: {error}", err=True)
        return WRONG_USE
    try:
        document, signer = verified(data, trusted)
        if document.get("version") != VERSION:
            raise NotGenuine("it is of a version that this program does not know")
        for line in _described(document, signer):
            click.echo(line)
        if trusted is None:
            click.echo(_UNKNOWN_KEY, err=True)
        for line in _compared(document, files):
            click.echo(line)
    except NotGenuine as error:
        click.echo(f"airlock: {receipt}: {safe_text(str(error))}", err=True)
        return DIFFERS
    except Difference as error:
        click.echo(f"airlock: {safe_text(str(error))}", err=True)
        return DIFFERS
    except (LookupError, TypeError):  # signed by whoever wrote it, who was no Airlock
        click.echo(f"airlock: {receipt}: it is signed, but it does not say what a receipt says", err=True)
        return DIFFERS
    except OSError as error:
        click.echo(f"airlock: {error}", err=True)
        return WRONG_USE
    return AS_SIGNED


def _trusted(file: Path) -> PublicKey:
    """The public key in the file. OSError; ValueError, which names the file."""
    try:
        return read_public_key(_beginning(file, _MAX_KEY_BYTES))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _beginning(file: Path, count: int) -> bytes:
    with file.open("rb") as opened:
        return opened.read(count)


def _described(document: Mapping[str, Any], signer: PublicKey) -> list[str]:
    """Who signed it, and what for."""
    environment = document["environment"]
    ended = " ".join(str(document[name]) for name in ("status", "reason") if document[name])
    lines = [
        f"unchanged since it was signed by the key {signer.key_id}",
        _one_line(f"{document['run_id']}: {ended}, {document['finished_at']}"),
        _one_line(f"environment {environment['name']} {environment['digest'] or '(no image was used)'}"),
    ]
    if document["reused_from"]:
        lines.append(_one_line(f"its result is that of {document['reused_from']}"))
    return lines


def _one_line(text: str) -> str:
    """Whoever signed it must not be able to add lines to ours."""
    return safe_text(text).replace("\n", "\\n")


def _compared(document: Mapping[str, Any], files: Files) -> list[str]:
    """One line for each file that is the one which the receipt names. Difference at the first that is not."""
    lines = []
    ports = {table["port"]: table["sha256"] for table in document["inputs"]}
    bundle = document["bundle"]
    inputs = (
        ("script", files.script, True, document["script_sha256"]),
        ("dataframe1", files.dataframe1, 1 in ports, ports.get(1)),
        ("dataframe2", files.dataframe2, 2 in ports, ports.get(2)),
        ("bundle", files.bundle, bundle is not None, bundle and bundle["sha256"]),
    )
    for name, file, there, expected in inputs:
        if file is not None:
            _require_same(name, file, there, expected)
            lines.append(f"{name}: {file} is the one")
    named = _outputs(document)
    for file in files.outputs:
        found = _sha256(file)
        if found not in named:
            raise Difference(f"output: {file} is none that the receipt names; its SHA-256 is {found}")
        lines.append(_one_line(f"output: {file} is {named[found]}"))
    return lines


def _require_same(name: str, file: Path, there: bool, expected: str | None) -> None:
    if not there:
        raise Difference(f"{name}: the run had none, so {file} cannot be it")
    if expected is None:
        raise Difference(f"{name}: the receipt does not say which it was: the file was gone when it was made")
    found = _sha256(file)
    if found != expected:
        raise Difference(f"{name}: {file} is another; its SHA-256 is {found}, the receipt says {expected}")


def _outputs(document: Mapping[str, Any]) -> dict[str, str]:
    """What each hash in the receipt's outputs is the hash of, in words."""
    outputs = document["outputs"]
    found = [(outputs["log"]["sha256"], "the log")]
    found += [(image["sha256"], f"the image {image['name']}") for image in outputs["images"]]
    for table in outputs["tables"]:
        found.append((table["sha256"], f"the table of port {table['port']} as {table['format']}"))
    return {digest: words for digest, words in found if digest is not None}


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
