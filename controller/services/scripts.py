"""Stored scripts: kept under a name, in versions that never change. Runs take their files by links, so a version may be
deleted while they are at work.

Nothing here reads a script: it is bytes, counted and hashed.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

from controller.errors import Conflict, InvalidRequest, NotFound, TooLarge, TooManyRuns
from controller.model import Caller, Input, ScriptUse, Word
from controller.services import quotas
from controller.services.audit import entry
from controller.services.backend import Backend, now
from controller.services.reuse import present_digest
from controller.services.tenants import new_id
from controller.store.script_store import (
    Defaults,
    Named,
    Parameter,
    ParameterType,
    Removed,
    ScriptPage,
    ScriptVersion,
    ScriptVersionPage,
)
from controller.workspace import BUNDLE, CHUNK_BYTES, SCRIPT, Staging

LATEST = "latest"
"""The tag that nobody sets: it is always on the newest version."""
_NAME = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}"
TAG = r"^[A-Za-z][A-Za-z0-9._-]{0,49}$"
_WHICH = r"([1-9][0-9]{0,8}|[A-Za-z][A-Za-z0-9._-]{0,49})"
WHICH = f"^{_WHICH}$"
"""A version's number, or a tag."""
REFERENCE = f"^{_NAME}(@{_WHICH})?$"
NO_SCRIPT = "there is no stored script, or no version or tag of it, with this name"
_TYPES: dict[ParameterType, tuple[type, ...]] = {
    ParameterType.STRING: (str,),
    ParameterType.INTEGER: (int,),
    ParameterType.NUMBER: (int, float),
    ParameterType.BOOLEAN: (bool,),
}


class Upload(Word):
    """What was received; the script, and a bundle and samples if there are any, lie in the staging beside it."""

    name: str
    description: str = ""
    defaults: Defaults
    parameters: dict[str, Parameter] | None = None
    samples: tuple[Input, ...] = ()
    bundle: bool = False


def put(backend: Backend, caller: Caller, staging: Staging, upload: Upload) -> tuple[ScriptVersion, bool]:
    """Keep a script: when this returns, its row and its files are on the disk. The version, and whether it is new: of
    the same content as the newest, there is none.

    InvalidRequest, TooLarge, TooManyRuns, QuotaSpent, NeverAllowed, StorageFull: nothing was kept.
    """
    settings = backend.settings
    script = checked_script(staging, settings.max_script_bytes)
    check_bundle(staging, upload.bundle, settings.max_bundle_bytes)
    for name, parameter in (upload.parameters or {}).items():
        if parameter.default is not None:
            check_parameter(f"options.parameters.{name}.default", parameter, parameter.default)
    digests = {name: _digest(staging.path(name)) for name in staging.names()}
    asked = [upload.model_dump(mode="json", exclude={"name"}), sorted(digests.items())]
    version = ScriptVersion(
        id=new_id("scv"),
        tenant_id=caller.tenant_id,
        name=upload.name,
        version=0,  # the store gives it
        description=upload.description,
        script_sha256=digests[SCRIPT],
        script_bytes=len(script),
        bundle_sha256=digests.get(BUNDLE),
        bundle_bytes=staging.size(BUNDLE) if upload.bundle else 0,
        defaults=upload.defaults,
        parameters=upload.parameters,
        samples=upload.samples,
        digest=present_digest(backend),
        content_sha256=hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest(),
        created_at=now(),
    )
    share = quotas.of_caller(backend, caller)
    files, stored = backend.workspaces.of_script(version.id), None
    staging.seal(files.root)
    try:
        done = entry(caller, "script.put", version.id, name=version.name)
        stored = backend.scripts.add(version, settings.max_script_versions, share.stored_bytes, done)
    finally:
        if stored is None or stored.id != version.id:
            files.remove()
    if stored is None:
        quotas.require_room(backend, caller.tenant_id, share, version.script_bytes + version.bundle_bytes)
        limit = settings.max_script_versions
        detail = f"you keep {limit} versions of scripts, which is the limit (max_script_versions): delete some"
        raise TooManyRuns(detail, code="too_many_versions", limit=limit)
    return stored, stored.id == version.id


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def checked_script(staging: Staging, limit_bytes: int) -> bytes:
    """The text of a script that was received. InvalidRequest, TooLarge."""
    size = staging.size(SCRIPT)
    if size > limit_bytes:
        detail = f"the script has {size} bytes, the limit is {limit_bytes}; put modules into the bundle"
        raise TooLarge(detail, code="script_too_large", limit=limit_bytes, value=size)
    script = staging.read(SCRIPT, limit_bytes)
    if not script.strip():
        raise InvalidRequest("the script is empty", errors=[{"where": "script", "message": "is empty"}])
    return script


def check_bundle(staging: Staging, bundle: bool, limit_bytes: int) -> None:
    """TooLarge when a bundle was received that is."""
    if bundle and (size := staging.size(BUNDLE)) > limit_bytes:
        raise TooLarge(f"the bundle has {size} bytes, the limit is {limit_bytes}", limit=limit_bytes, value=size)


# -- using them --------------------------------------------------------------------------------------------------


def parse(reference: str) -> Named:
    """`name`, `name@latest`, `name@3` or `name@tag`. InvalidRequest."""
    if not re.fullmatch(REFERENCE, reference):
        message = 'must be a name, and may say which version: "name", "name@3", "name@tag"'
        raise InvalidRequest(f"script_ref: {message}", errors=[{"where": "script_ref", "message": message}])
    name, _, which = reference.partition("@")
    return named(name, which)


def named(name: str, which: str | None) -> Named:
    """The version of this number, or the one that this tag is on; else the newest."""
    if which and which.isdigit():
        return Named(name=name, version=int(which))
    return Named(name=name, tag=which if which and which != LATEST else None)


def find(backend: Backend, caller: Caller, wanted: Named) -> ScriptVersion:
    """NotFound for a missing one and for another tenant's, in the same words."""
    found = backend.scripts.find(caller.tenant_id, wanted)
    if found is None:
        raise NotFound(NO_SCRIPT)
    return found


def link(backend: Backend, staging: Staging, script: ScriptVersion) -> None:
    """Take its files into the inputs of a run. NotFound when it is deleted meanwhile."""
    files = backend.workspaces.of_script(script.id)
    try:
        for name in (SCRIPT, BUNDLE) if script.bundle_sha256 else (SCRIPT,):
            staging.link(name, files.input_dir / name)
    except FileNotFoundError:
        raise NotFound(NO_SCRIPT) from None


def use(script: ScriptVersion) -> ScriptUse:
    """How a run names it."""
    return ScriptUse(name=script.name, version=script.version)


def arguments(script: ScriptVersion, given: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a run: those that were given, and the defaults. InvalidRequest where they do not fit."""
    if script.parameters is None:
        return given
    for name, value in given.items():
        where = f"options.parameters.{name[:100]}"
        if name not in script.parameters:
            known = ", ".join(script.parameters) or "none"
            _refuse(where, f"is no parameter of {script.name}@{script.version}; there are: {known}")
        check_parameter(where, script.parameters[name], value)
    found = {name: given.get(name, parameter.default) for name, parameter in script.parameters.items()}
    for name, value in found.items():
        if value is None:
            _refuse(f"options.parameters.{name}", "is missing, and has no default")
    return found


def check_parameter(where: str, parameter: Parameter, value: object) -> None:
    """InvalidRequest when the value is not of the parameter's type."""
    truth = isinstance(value, bool)  # which is an int to Python
    if not isinstance(value, _TYPES[parameter.type]) or truth != (parameter.type is ParameterType.BOOLEAN):
        _refuse(where, f"must be of the type {parameter.type}, not {json.dumps(value)[:100]}")


def _refuse(where: str, message: str) -> None:
    raise InvalidRequest(f"{where}: {message}", errors=[{"where": where, "message": message}])


# -- looking at them, and away with them -------------------------------------------------------------------------


def page(
    backend: Backend, caller: Caller, limit: int, prefix: str, before: tuple[datetime, str] | None
) -> ScriptPage:
    return backend.scripts.page(caller.tenant_id, limit, prefix, before)


def versions(backend: Backend, caller: Caller, name: str, limit: int, below: int | None) -> ScriptVersionPage:
    """NotFound when there is none at all."""
    found = backend.scripts.versions(caller.tenant_id, name, limit, below)
    if not found.scripts and below is None:
        raise NotFound(NO_SCRIPT)
    return found


def tags(backend: Backend, script: ScriptVersion) -> dict[str, int]:
    """All tags of the script's name, and the version that each is on; `latest` among them."""
    newest = backend.scripts.find(script.tenant_id, Named(name=script.name))
    found = backend.scripts.tags(script.tenant_id, script.name)
    return ({LATEST: newest.version} if newest else {}) | found


def file(backend: Backend, caller: Caller, wanted: Named, name: str) -> tuple[ScriptVersion, Path]:
    """One of a version's files. NotFound when it has none of this name."""
    script = find(backend, caller, wanted)
    path = backend.workspaces.of_script(script.id).input_dir / name
    if not path.exists():
        raise NotFound(f"version {script.version} of {script.name} has no {name}")
    return script, path


def tag(backend: Backend, caller: Caller, name: str, tag: str, version: int) -> None:
    """Put a tag on a version, wherever it was before. NotFound; InvalidRequest for `latest`."""
    if tag == LATEST:
        _refuse("tag", f"{LATEST!r} is always the newest version: choose another word")
    done = entry(caller, "script.tag", name=name, tag=tag, version=version)
    if not backend.scripts.tag(caller.tenant_id, name, tag, version, done):
        raise NotFound(NO_SCRIPT)


def untag(backend: Backend, caller: Caller, name: str, tag: str) -> None:
    """NotFound when there is no such tag, Conflict `script_in_use` while an endpoint names it."""
    done = entry(caller, "script.untag", name=name, tag=tag)
    _removed(backend.scripts.untag(caller.tenant_id, name, tag, done), f"the tag {tag} of {name}")


def delete(backend: Backend, caller: Caller, name: str, version: int | None) -> None:
    """Delete a version, or all of a name. Runs and batches that took its files keep them.

    NotFound, Conflict `script_in_use` while an endpoint serves it.
    """
    done = entry(caller, "script.delete", name=name, version=version)
    removed = backend.scripts.delete(caller.tenant_id, name, version, now(), done)
    for version_id in _removed(removed, f"the script {name}"):
        backend.workspaces.of_script(version_id).remove()


def _removed(removed: Removed, what: str) -> tuple[str, ...]:
    """What is gone. NotFound, Conflict."""
    if removed.users:
        detail = f"{what} is served by {', '.join(removed.users[:10])}: publish another version there first"
        raise Conflict(detail, code="script_in_use")
    if not removed.gone:
        raise NotFound(NO_SCRIPT)
    return removed.gone
