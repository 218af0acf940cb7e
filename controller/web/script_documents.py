"""The documents of /v1/scripts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from controller.model import MIN_MEMORY_BYTES, Compression, Dtypes, Format, Profile, Reading
from controller.services.datasets import NAME
from controller.services.scripts import TAG, WHICH
from controller.store.script_store import Defaults, Parameter, ScriptVersion
from controller.web.documents import Document, VersionNumber

ScriptName = Annotated[str, Field(pattern=NAME, description="1 to 100 of A-Z a-z 0-9 . _ -, no dot ahead")]
ParameterName = Annotated[str, Field(pattern=r"^[^\x00-\x1f]{1,100}$")]


class ScriptOptions(Document):
    """What goes with a script: options of its runs, where a run does not say otherwise, and the parameters that it
    takes. Without `parameters` it takes any."""

    description: Annotated[str, Field(max_length=1000)] = ""
    parameters: Annotated[dict[ParameterName, Parameter] | None, Field(max_length=1000)] = None
    profile: Profile = Profile.CLASSIC
    dtypes: Dtypes = Dtypes.NUMPY
    environment: Annotated[str, Field(min_length=1, max_length=100)] = "default"
    timeout_seconds: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = None
    memory_bytes: Annotated[int | None, Field(ge=MIN_MEMORY_BYTES)] = None
    cpus: Annotated[float | None, Field(ge=0.05, allow_inf_nan=False)] = None
    output_format: Format = Format.ARROW
    dataframe1: Annotated[Reading | None, Field(description="how the sample is read")] = None
    dataframe2: Annotated[Reading | None, Field(description="likewise")] = None


class ScriptBody(Document):
    """PUT /v1/scripts/{name} with a JSON body; a bundle and samples go in a multipart/form-data body instead."""

    script: str
    options: ScriptOptions = ScriptOptions()


class Sample(Document):
    """A table that was kept with a script, to try it with."""

    port: int
    format: Format
    compression: Compression | None


class ScriptDocument(Document):
    """A version of a stored script."""

    id: str
    name: str
    version: int
    description: str
    script_sha256: str
    script_bytes: int
    bundle_sha256: str | None
    bundle_bytes: int
    defaults: Annotated[Defaults, Field(description="options of its runs, where a run does not say otherwise")]
    parameters: Annotated[dict[str, Parameter] | None, Field(description="null: it takes any")]
    samples: list[Sample]
    digest: Annotated[str | None, Field(description="of the environment's image when the version was put")]
    tags: Annotated[list[str], Field(description="those on this version; `latest` is on the newest")]
    created_at: datetime


def script_document(script: ScriptVersion, tags: dict[str, int]) -> dict[str, Any]:
    """A version as the API shows it; `tags` are those of its name."""
    document = ScriptDocument(
        tags=[tag for tag, version in tags.items() if version == script.version],
        samples=[Sample(port=one.port, format=one.format, compression=one.compression) for one in script.samples],
        **script.model_dump(exclude={"tenant_id", "content_sha256", "samples"}),
    )
    return document.model_dump(mode="json")


class ScriptList(Document):
    items: list[ScriptDocument]
    next_cursor: str | None


class ScriptPath(Document):
    name: ScriptName


class ScriptVersionPath(ScriptPath):
    version: VersionNumber


class TagPath(ScriptPath):
    tag: Annotated[str, Field(pattern=TAG, description="a letter, then up to 49 of A-Z a-z 0-9 . _ -")]


class WhichQuery(Document):
    which: Annotated[
        str | None,
        Field(pattern=WHICH, description="a version's number, or a tag; without it, the newest"),
    ] = None


class DeleteQuery(Document):
    version: Annotated[VersionNumber | None, Field(description="without it, all of them")] = None


class TagBody(Document):
    """PUT /v1/scripts/{name}/tags/{tag}."""

    version: VersionNumber


class ScriptsQuery(Document):
    prefix: Annotated[str, Field(pattern="^[A-Za-z0-9._-]{0,100}$", description="of the names")] = ""
    limit: Annotated[int, Field(ge=1, le=100)] = 50
    cursor: Annotated[str | None, Field(max_length=200, description="next_cursor of the page before")] = None


class VersionsQuery(Document):
    limit: Annotated[int, Field(ge=1, le=100)] = 50
    cursor: Annotated[
        str | None, Field(pattern="^[0-9]{1,9}$", description="next_cursor of the page before")
    ] = None
