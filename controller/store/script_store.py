"""What the store of scripts is. A version never changes; a tag is a name for one, and may be moved to another.

All methods may raise StoreError or StorageFull. Every such store keeps tests/contract/script_store_contract.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Protocol

from pydantic import Field

from controller.model import Dtypes, Format, Input, Profile, Word
from controller.store.audit_store import Entry


class ParameterType(StrEnum):
    """What a declared parameter may be, as JSON has it; an integer is a number without a fraction."""

    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"


class Parameter(Word):
    """One that a script declares. Without a default it must be given."""

    type: ParameterType
    default: Annotated[str | int | float | bool | None, Field(union_mode="smart")] = None
    description: Annotated[str, Field(max_length=1000)] = ""


class Defaults(Word):
    """Options of a script's runs, where a run does not say otherwise; a limit that is None is the server's default."""

    profile: Profile = Profile.CLASSIC
    dtypes: Dtypes = Dtypes.NUMPY
    environment: str
    timeout_seconds: float | None = None
    memory_bytes: int | None = None
    cpus: float | None = None
    output_format: Format = Format.ARROW


class ScriptVersion(Word):
    """A script that is kept under a name."""

    id: str
    tenant_id: str
    name: str
    version: int
    """Counted from 1 for each name; never given twice, not even after a deletion."""
    description: str = ""
    script_sha256: str
    script_bytes: int
    bundle_sha256: str | None = None
    bundle_bytes: int = 0
    defaults: Defaults
    parameters: dict[str, Parameter] | None = None
    """None: it declares none, and takes whatever it is given."""
    samples: tuple[Input, ...] = ()
    """Tables to try it with; their files lie beside it."""
    digest: str | None = None
    """Of the environment's image when it was put, as far as that was known."""
    content_sha256: str
    """Of all the above but the digest: versions that have the same one are the same."""
    created_at: datetime


class Named(Word):
    """A version by its number or by a tag; the newest, when neither is given."""

    name: str
    version: int | None = None
    tag: str | None = None


class ScriptPage(Word):
    """A part of a list; `before` continues it, None at its end."""

    scripts: tuple[ScriptVersion, ...]
    before: tuple[datetime, str] | None = None


class ScriptVersionPage(Word):
    """A part of the list of a name's versions; `below` continues it, None at its end."""

    scripts: tuple[ScriptVersion, ...]
    below: int | None = None


class Removed(Word):
    """What came of a deletion."""

    gone: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    """The endpoints that use it: nothing was deleted."""


class Scripts(Protocol):
    def add(
        self,
        version: ScriptVersion,
        max_versions: int,
        max_stored_bytes: int | None = None,
        entry: Entry | None = None,
    ) -> ScriptVersion | None:
        """The version as it was stored, with its number, the next one of its name; or the newest of its name, when that
        has the same content: then its id is another, and nothing was added.

        None when the tenant has that many versions already, or its files and these would be larger than that.
        """

    def find(self, tenant_id: str, named: Named) -> ScriptVersion | None:
        """None for a missing one, a deleted one, and another tenant's."""

    def versions(self, tenant_id: str, name: str, limit: int, below: int | None = None) -> ScriptVersionPage:
        """The versions of a name below a number, newest first."""

    def page(
        self, tenant_id: str, limit: int, prefix: str = "", before: tuple[datetime, str] | None = None
    ) -> ScriptPage:
        """The newest version of each name, newest first."""

    def delete(
        self, tenant_id: str, name: str, version: int | None, now: datetime, entry: Entry | None = None
    ) -> Removed:
        """Delete one version, or all of a name, and the tags on them. All of it or, while it is used, nothing."""

    def tags(self, tenant_id: str, name: str) -> dict[str, int]:
        """The tags of a name, and the version that each is on."""

    def tag(self, tenant_id: str, name: str, tag: str, version: int, entry: Entry | None = None) -> bool:
        """Put a tag on this version, wherever it was before; False when there is no such version. One that is there
        already is not written down again."""

    def untag(self, tenant_id: str, name: str, tag: str, entry: Entry | None = None) -> Removed:
        """`gone` has the tag; nothing is gone when there is no such tag, or it is used."""

    def known(self, version_ids: Iterable[str]) -> set[str]:
        """Which of these are there, of all tenants."""
