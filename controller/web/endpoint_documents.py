"""The documents of /v1/endpoints."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from controller.model import MIN_MEMORY_BYTES, Column
from controller.services.datasets import NAME
from controller.store.endpoint_store import Config, Endpoint, Kept
from controller.store.script_store import Named
from controller.web.documents import Document, ScriptReference

EndpointName = Annotated[str, Field(pattern=NAME, description="1 to 100 of A-Z a-z 0-9 . _ -, no dot ahead")]
PortName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,99}$")]
MAX_CONCURRENCY = 200


class EndpointBody(Document):
    """PUT /v1/endpoints/{name}. What is left out gets its default, also of an endpoint that is there already."""

    script: ScriptReference
    description: Annotated[str, Field(max_length=1000)] = ""
    enabled: bool = True
    concurrency: Annotated[
        int, Field(ge=1, le=MAX_CONCURRENCY, description="calls at once; more are refused with 503")
    ] = 20
    timeout_seconds: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = None
    memory_bytes: Annotated[int | None, Field(ge=MIN_MEMORY_BYTES)] = None
    cpus: Annotated[float | None, Field(ge=0.05, allow_inf_nan=False)] = None
    keep: Annotated[Kept, Field(description="which calls are kept as runs, with their tables and log")] = Kept.ALL
    strict: Annotated[bool, Field(description="tables must have the columns of the sample run")] = False
    inputs: Annotated[
        list[PortName], Field(min_length=1, max_length=2, description="names of the ports, for Azure's clients")
    ] = ["input1", "input2"]
    outputs: Annotated[list[PortName], Field(min_length=1, max_length=2, description="likewise")] = [
        "output1",
        "output2",
    ]

    @property
    def config(self) -> Config:
        return Config(**self.model_dump(exclude={"script"}))


class EndpointKeys(Document):
    """Shown once: what is kept is a hash."""

    primary: str
    secondary: str


class SampleDocument(Document):
    """What the sample run of the script showed."""

    version: int
    run_id: str
    error: str | None
    inputs: Annotated[dict[str, list[Column]], Field(description="the columns of each port's table")]
    outputs: dict[str, list[Column]]


class EndpointDocument(Document):
    """A published script."""

    id: str
    name: str
    script: str
    version: Annotated[int | None, Field(description="the version that calls get now")]
    previous: Annotated[str | None, Field(description="what a rollback would serve")]
    config: Config
    sample: Annotated[SampleDocument | None, Field(description="null: the script has no samples")]
    revision: int
    addresses: Annotated[dict[str, str], Field(description="where it is called")]
    keys: Annotated[EndpointKeys | None, Field(description="only in the answer that makes the endpoint")]
    created_at: datetime
    updated_at: datetime


def reference(script: Named) -> str:
    """As it was published."""
    which = script.tag or script.version or "latest"
    return f"{script.name}@{which}"


def azure_path(endpoint: Endpoint) -> str:
    """The base of its Azure-compatible addresses."""
    workspace, service = (id.partition("_")[2] for id in (endpoint.tenant_id, endpoint.id))
    return f"/workspaces/{workspace}/services/{service}"


def endpoint_document(endpoint: Endpoint, version: int | None, keys: dict[str, str] | None = None) -> dict[str, Any]:
    """An endpoint as the API shows it."""
    signature = endpoint.signature
    sample = None
    if signature is not None:
        columns = {
            side: {str(port): list(found) for port, found in getattr(signature, side).items()}
            for side in ("inputs", "outputs")
        }
        sample = SampleDocument(version=signature.version, run_id=signature.run_id, error=signature.error, **columns)
    document = EndpointDocument(
        id=endpoint.id,
        name=endpoint.name,
        script=reference(endpoint.script),
        version=version,
        previous=reference(endpoint.previous) if endpoint.previous else None,
        config=endpoint.config,
        sample=sample,
        revision=endpoint.revision,
        addresses={
            "call": f"/v1/endpoints/{endpoint.name}/call",
            "azure_request_response": f"{azure_path(endpoint)}/execute?api-version=2.0",
            "azure_batch": f"{azure_path(endpoint)}/jobs?api-version=2.0",
        },
        keys=EndpointKeys(**keys) if keys else None,
        created_at=endpoint.created_at,
        updated_at=endpoint.updated_at,
    )
    return document.model_dump(mode="json")


class EndpointList(Document):
    items: list[EndpointDocument]
    next_cursor: str | None


class EndpointPath(Document):
    name: EndpointName


class KeyPath(EndpointPath):
    which: Literal["primary", "secondary"]


class KeyDocument(Document):
    """Shown once."""

    key: str


class EndpointsQuery(Document):
    limit: Annotated[int, Field(ge=1, le=100)] = 50
    cursor: Annotated[str | None, Field(pattern=NAME, description="next_cursor of the page before")] = None


class CallQuery(Document):
    parameters: Annotated[
        str | None, Field(max_length=4096, description="a JSON object, where the body is a table and nothing else")
    ] = None


class DayDocument(Document):
    """The calls of a day, in UTC. Times are of calls that were served, and at most a quarter too long."""

    day: str
    succeeded: int
    failed: int
    throttled: int
    p50_seconds: float | None
    p99_seconds: float | None


class UsageDocument(Document):
    at_work: int
    items: list[DayDocument]
