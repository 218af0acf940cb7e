"""The server's settings: the only place that reads the environment.

Order, the later wins: defaults below, the TOML file named by AIRLOCK_CONFIG, AIRLOCK_* variables, arguments.
"""

from __future__ import annotations

import os
import re
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from controller.model import MIN_MEMORY_BYTES, SCOPES, Limits, Quotas

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
DAY = 86_400.0
MIN_TOKEN_CHARACTERS = 16
_TRUSTED_WAY = re.compile(r"https://|http://(127\.0\.0\.1|localhost)[:/]")


def _default_data_dir() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/airlock")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "airlock"


def _default_max_memory_bytes() -> int:
    """Half of the host's memory shared among the cores, so that the runs' limits bind before the host's own."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1 * GIB, min(8 * GIB, memory // (2 * (os.cpu_count() or 1)) // MIB * MIB))


_NO_QUOTAS = Quotas()
_Number = TypeVar("_Number", int, float)


def _least(first: _Number, *others: _Number | None) -> _Number:
    for other in others:
        if other is not None and other < first:
            first = other
    return first


def _sendable(token: SecretStr | None) -> SecretStr | None:
    """A token that is short can be guessed, and one with spaces or umlauts does not arrive as it was sent."""
    value = token.get_secret_value() if token is not None else None
    if value is not None and not re.fullmatch(f"[!-~]{{{MIN_TOKEN_CHARACTERS},}}", value):
        raise ValueError(f"must have {MIN_TOKEN_CHARACTERS} characters or more of printable ASCII, and no space")
    return token


def _traceable(on: bool) -> bool:
    if on and find_spec("opentelemetry") is None:
        raise ValueError("needs what the extra brings: pip install 'airlock[tracing]'")
    return on


class Settings(BaseSettings):
    """Everything an operator may set. Each has a default that is safe on one host."""

    model_config = SettingsConfigDict(env_prefix="AIRLOCK_", frozen=True, extra="forbid")

    data_dir: Annotated[Path, Field(description="database, inputs and results; private to the server")] = Field(
        default_factory=_default_data_dir
    )
    host: Annotated[str, Field(description="address to listen on")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="port to listen on")] = 8750
    metrics_token: Annotated[
        SecretStr | None, AfterValidator(_sendable), Field(description="opens GET /metrics to who sends it")
    ] = None
    tracing: Annotated[
        bool, AfterValidator(_traceable), Field(description="send traces to the collector that OTEL_ variables name")
    ] = False
    threads: Annotated[int, Field(ge=4, le=1024, description="requests served at once")] = 512
    workers: Annotated[int, Field(ge=1, le=256, description="runs executed at once")] = os.cpu_count() or 1

    admin_host: Annotated[str | None, Field(min_length=1, description="address of the admin routes, if another")] = None
    admin_port: Annotated[int | None, Field(ge=1, le=65535, description="port of the admin routes, if another")] = None

    image: Annotated[str, Field(description="the sandbox image, as the engine knows it")] = "airlock-sandbox:latest"
    engine: Annotated[Literal["auto", "docker", "oci"], Field(description="what makes the containers")] = "auto"
    oci_image_dir: Annotated[Path, Field(description="unpacked images, for the oci engine")] = Field(
        default_factory=lambda: _default_data_dir() / "images"
    )
    oci_user_namespaces: Annotated[
        Literal["auto", "on", "off"], Field(description="of the oci engine's containers; on: none starts without")
    ] = "auto"
    oci_warm_maker: Annotated[
        Literal["runtime", "launcher"], Field(description="who makes the oci engine's warm containers")
    ] = "runtime"
    runtime: Annotated[str, Field(description="OCI runtime of the engine: runc, runsc, ...")] = "runc"
    warm_containers: Annotated[int, Field(ge=0, le=1000, description="containers kept ready; 0: plain starts")] = 4
    plain_start_tenants: Annotated[frozenset[str], Field(description="ids of tenants without warm containers")] = (
        frozenset()
    )
    sweep_seconds: Annotated[float, Field(gt=0, description="between two searches for leftovers")] = 30.0

    max_body_bytes: Annotated[int, Field(gt=0, description="one request's body")] = 4 * GIB
    max_json_bytes: Annotated[int, Field(gt=0, description="a JSON body")] = 2 * MIB
    min_free_bytes: Annotated[int, Field(ge=0, description="disk kept free: below it nothing is accepted")] = 64 * MIB
    max_script_bytes: Annotated[int, Field(gt=0, description="a script")] = 1 * MIB
    max_bundle_bytes: Annotated[int, Field(gt=0, description="a zip of modules, as uploaded")] = 64 * MIB
    max_wait_seconds: Annotated[float, Field(gt=0, description="longest ?wait=")] = 300.0
    max_queued_runs: Annotated[int, Field(gt=0, description="runs waiting, per tenant")] = 10_000
    max_sample_bytes: Annotated[int, Field(gt=0, description="a sample table, kept with a script")] = 1 * MIB
    max_script_versions: Annotated[int, Field(gt=0, description="kept of stored scripts, per tenant")] = 1000
    max_endpoints: Annotated[int, Field(gt=0, description="published, per tenant")] = 10_000
    max_unstarted_jobs: Annotated[int, Field(gt=0, description="jobs that were not started, per endpoint")] = 1000
    max_batches: Annotated[int, Field(gt=0, description="batches that have not ended, per tenant")] = 100
    max_batch_items: Annotated[int, Field(gt=0, le=10_000, description="items of a batch")] = 10_000
    max_batch_parallel: Annotated[int, Field(gt=0, le=1024, description="items of a batch under way at once")] = 64
    engine_patience_seconds: Annotated[float, Field(ge=0, description="a run waits for an engine that is away")] = 300.0
    max_attempts: Annotated[int, Field(ge=1, description="how often a run is begun that the server interrupts")] = 3
    retry_seconds: Annotated[float, Field(gt=0, description="before the second attempt; four times as long each")] = 1.0
    drain_seconds: Annotated[float, Field(ge=0, description="for running runs to end when the server stops")] = 10.0
    idempotency_seconds: Annotated[float, Field(gt=0, description="an Idempotency-Key is remembered")] = 86_400.0

    oidc_issuer: Annotated[str | None, Field(description="whose logins of people are taken; none: nobody's")] = None
    oidc_audience: Annotated[str | None, Field(min_length=1, description="whom its tokens must be meant for")] = None
    oidc_tenant_claim: Annotated[str, Field(min_length=1, description="it names a tenant")] = "airlock_tenant"
    oidc_scopes_claim: Annotated[str, Field(min_length=1, description="it names scopes")] = "airlock_scopes"
    oidc_scopes: Annotated[str, Field(description="scopes that people may have")] = "run publish tenant_admin"
    key_grace_seconds: Annotated[float, Field(ge=0, description="a rotated API key lives on")] = DAY
    max_keys: Annotated[int, Field(gt=0, description="live API keys, per tenant")] = 100
    quota_concurrent_runs: Annotated[int | None, Field(ge=1, description="runs at work at once, per tenant")] = None
    quota_queued_runs: Annotated[int | None, Field(ge=1, description="runs waiting, per tenant")] = None
    quota_run_seconds_per_day: Annotated[float | None, Field(gt=0, description="of all its runs, per tenant")] = None
    quota_memory_bytes: Annotated[int | None, Field(ge=MIN_MEMORY_BYTES, description="of one run, at most")] = None
    quota_cpus: Annotated[float | None, Field(ge=0.05, description="of one run, at most")] = None
    quota_timeout_seconds: Annotated[float | None, Field(gt=0, description="of one run, at most")] = None
    quota_output_bytes: Annotated[int | None, Field(gt=0, description="of one run, at most")] = None
    quota_stored_bytes: Annotated[int | None, Field(gt=0, description="of runs and datasets, per tenant")] = None
    quota_requests_per_second: Annotated[float | None, Field(gt=0, description="requests, per tenant")] = None

    keep_inputs_seconds: Annotated[float | None, Field(gt=0, description="a finished run's inputs")] = 30 * DAY
    keep_outputs_seconds: Annotated[float | None, Field(gt=0, description="its results and images")] = 30 * DAY
    keep_log_seconds: Annotated[float | None, Field(gt=0, description="its log")] = 30 * DAY
    keep_runs_seconds: Annotated[float | None, Field(gt=0, description="all that is known of it")] = 90 * DAY
    keep_bytes: Annotated[int | None, Field(gt=0, description="of a tenant's finished runs")] = None

    timeout_seconds: Annotated[float, Field(gt=0, description="default time limit of a run")] = 60.0
    max_timeout_seconds: Annotated[float, Field(gt=0, description="largest time limit of a run")] = 3600.0
    memory_bytes: Annotated[int, Field(ge=MIN_MEMORY_BYTES, description="default memory of a run")] = 1 * GIB
    max_memory_bytes: Annotated[int, Field(ge=MIN_MEMORY_BYTES, description="largest memory of a run")] = Field(
        default_factory=_default_max_memory_bytes
    )
    cpus: Annotated[float, Field(gt=0, description="default CPUs of a run")] = 1.0
    max_cpus: Annotated[float, Field(gt=0, description="largest number of CPUs of a run")] = float(
        os.cpu_count() or 1
    )
    processes: Annotated[int, Field(ge=8, description="processes and threads of a run")] = 128
    work_bytes: Annotated[int, Field(gt=0, description="size of /work; counts as the run's memory")] = 256 * MIB
    work_inodes: Annotated[int, Field(gt=0, description="files in /work")] = 20_000
    output_bytes: Annotated[int, Field(gt=0, description="largest file a run may write, results included")] = 1 * GIB
    log_bytes: Annotated[int, Field(ge=1 * KIB, description="log kept of a run: first and last half")] = 1 * MIB
    images: Annotated[int, Field(ge=0, description="images kept of a run")] = 100
    images_bytes: Annotated[int, Field(ge=0, description="size of all of them")] = 64 * MIB
    inflated_bytes: Annotated[int, Field(gt=0, description="an unpacked .gz, .zst; at most half the memory")] = 1 * GIB

    @model_validator(mode="after")
    def _whole_admin_address(self) -> Self:
        """Half an address would leave the admin routes where the operator believes that they are not."""
        if (self.admin_host is None) != (self.admin_port is None):
            raise ValueError("admin_host and admin_port go together: set both, or neither")
        if self.admin_port is not None and self.admin_port == self.port:
            raise ValueError("admin_port must be another port than `port`: by it the admin routes are told apart")
        return self

    @model_validator(mode="after")
    def _whole_login(self) -> Self:
        """A token is not taken from an issuer whose keys anybody on the way could change, nor one meant for others."""
        if (self.oidc_issuer is None) != (self.oidc_audience is None):
            raise ValueError("oidc_issuer and oidc_audience go together: set both, or neither")
        if self.oidc_issuer is not None and not _TRUSTED_WAY.match(self.oidc_issuer):
            raise ValueError("oidc_issuer must begin with https://")
        if unknown := set(self.oidc_scopes.split()) - set(SCOPES):
            raise ValueError(f"oidc_scopes: there is no scope {min(unknown)!r}")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = os.environ.get("AIRLOCK_CONFIG")
        toml = (TomlConfigSettingsSource(settings_cls, Path(file)),) if file else ()
        return (init_settings, env_settings, *toml)

    @cached_property
    def quotas(self) -> Quotas:
        """What each tenant may have whose own quotas say nothing else."""
        return Quotas(**{name: getattr(self, f"quota_{name}") for name in Quotas.model_fields})

    def limits(
        self,
        timeout_seconds: float | None = None,
        memory_bytes: int | None = None,
        cpus: float | None = None,
        quotas: Quotas = _NO_QUOTAS,
    ) -> Limits:
        """The limits a run gets: what it asked for or the default, cut to the maximum of the server and its tenant."""
        memory_bytes = _least(memory_bytes or self.memory_bytes, self.max_memory_bytes, quotas.memory_bytes)
        return Limits(
            timeout_seconds=_least(
                timeout_seconds or self.timeout_seconds, self.max_timeout_seconds, quotas.timeout_seconds
            ),
            memory_bytes=memory_bytes,
            cpus=_least(cpus or self.cpus, self.max_cpus, quotas.cpus),
            processes=self.processes,
            work_bytes=self.work_bytes,
            work_inodes=self.work_inodes,
            output_bytes=_least(self.output_bytes, quotas.output_bytes),
            log_bytes=self.log_bytes,
            images=self.images,
            images_bytes=self.images_bytes,
            inflated_bytes=min(self.inflated_bytes, memory_bytes // 2),
        )


def failpoint() -> str | None:
    """AIRLOCK_FAILPOINT, for tests only (failpoints.py): no setting, and in no document for operators."""
    return os.environ.get("AIRLOCK_FAILPOINT")
