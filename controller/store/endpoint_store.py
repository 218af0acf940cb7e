"""What the store of endpoints is: scripts that are published under a name and called with keys of their own.

All methods may raise StoreError or StorageFull. Every such store keeps tests/contract/endpoint_store_contract.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, NamedTuple, Protocol

from pydantic import Field

from controller.model import Column, Word
from controller.store.audit_store import Entry
from controller.store.script_store import Named


class Kept(StrEnum):
    """Which calls are kept as runs, with inputs, results and log; the others are forgotten when they are answered."""

    NONE = "none"
    FAILED = "failed"
    ALL = "all"


class Config(Word):
    """How an endpoint is served."""

    description: str = ""
    enabled: bool = True
    concurrency: int = 20
    """Calls at once; more are refused."""
    timeout_seconds: float | None = None
    memory_bytes: int | None = None
    cpus: float | None = None
    keep: Kept = Kept.ALL
    strict: bool = False
    """Tables must have the columns that the sample run had."""
    inputs: Annotated[tuple[str, ...], Field(min_length=1, max_length=2)] = ("input1", "input2")
    outputs: Annotated[tuple[str, ...], Field(min_length=1, max_length=2)] = ("output1", "output2")
    """The names of the ports in the Azure-compatible interface."""


class Signature(Word):
    """The columns of an endpoint's tables, as its sample run had them."""

    inputs: dict[int, tuple[Column, ...]] = {}
    outputs: dict[int, tuple[Column, ...]] = {}
    version: int
    """Of the script that ran."""
    run_id: str
    error: str | None = None
    """Why there are no outputs: the sample run failed, or has too many columns."""


class EndpointKey(NamedTuple):
    """One of an endpoint's two keys, as it is stored."""

    id: str
    mac: str


class Endpoint(Word):
    id: str
    tenant_id: str
    name: str
    script: Named
    previous: Named | None = None
    config: Config
    signature: Signature | None = None
    primary_id: str
    primary_mac: str
    secondary_id: str
    secondary_mac: str
    revision: int = 1
    """Counts its changes."""
    created_at: datetime
    updated_at: datetime


class EndpointPage(Word):
    """A part of a list, by name; `after` continues it, None at its end."""

    endpoints: tuple[Endpoint, ...]
    after: str | None = None


class Changed(StrEnum):
    """What came of a change."""

    DONE = "done"
    UNEXPECTED = "unexpected"
    """It has another revision than was expected, or is there although it should not be, or the other way round."""
    NO_SCRIPT = "no_script"
    FULL = "full"


class Ending(StrEnum):
    """How a call ended, as far as it is counted."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    THROTTLED = "throttled"


class Tally(NamedTuple):
    """What calls are counted by; `bucket` n is 10 ms x 1.25**n at most."""

    endpoint_id: str
    day: str
    ending: Ending
    bucket: int


class Job(Word):
    """A job of the batch interface: accepted, and begun when it is started."""

    id: str
    endpoint_id: str
    tenant_id: str
    request: dict[str, Any]
    run_id: str | None = None
    cancelled: bool = False
    created_at: datetime


class Endpoints(Protocol):
    def put(
        self, endpoint: Endpoint, expected: int | None, max_endpoints: int, entry: Entry | None = None
    ) -> Changed:
        """Add an endpoint (expected 0: there is none of this name), or change it: `expected` is the revision that is
        replaced, None any. Its id, keys and creation stay; what it was goes to `previous` when the script changes.

        NO_SCRIPT when the script that it names is not there at this moment. What is so already keeps its revision, and
        is not written down again.
        """

    def sign(self, endpoint_id: str, signature: Signature) -> None:
        """Write down what its sample run showed."""

    def find(self, tenant_id: str, name: str) -> Endpoint | None:
        """None for a missing one and another tenant's."""

    def by_key(self, key_id: str) -> tuple[Endpoint, str] | None:
        """The endpoint that one of these keys is of, and the key's MAC."""

    def page(self, tenant_id: str, limit: int, after: str = "") -> EndpointPage:
        """By name, from behind this one on: at most `limit` of them, fewer when they are large."""

    def set_key(self, endpoint_id: str, which: str, key: EndpointKey, entry: Entry | None = None) -> None:
        """Replace the `primary` or `secondary` key: the old one is void from now on."""

    def delete(self, tenant_id: str, name: str, entry: Entry | None = None) -> str | None:
        """Forget it, its counts and its jobs: its id, or None when there is none."""

    def count(self, calls: Mapping[Tally, int]) -> None:
        """Add to the counts; those of endpoints that are gone are dropped."""

    def calls(self, endpoint_id: str, since: str) -> dict[Tally, int]:
        """The counts from this day on."""

    # -- jobs ----------------------------------------------------------------------------------------------------

    def add_job(self, job: Job, max_unstarted: int) -> bool:
        """False when so many of the endpoint's jobs were neither started nor cancelled."""

    def job(self, endpoint_id: str, job_id: str) -> Job | None: ...

    def start_job(self, job_id: str, run_id: str) -> bool:
        """For exactly one caller; False when it was started or cancelled before."""

    def cancel_job(self, job_id: str) -> None:
        """One that was not started never will be: nothing of its request is kept."""

    def forget_unstarted(self, before: datetime) -> int:
        """Jobs that were accepted before this moment and not started, cancelled ones among them."""

    def forget_jobs(self, before: datetime) -> int:
        """Those that were accepted before this moment."""
