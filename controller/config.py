"""The server's settings: the only place that reads the environment.

Order, the later wins: defaults below, the TOML file named by AIRLOCK_CONFIG, AIRLOCK_* variables, arguments.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from controller.model import Limits

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
DAY = 86_400.0
MIN_MEMORY_BYTES = 96 * MIB
"""Below this the runner's own imports do not fit."""


def _default_data_dir() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/airlock")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "airlock"


def _default_max_memory_bytes() -> int:
    """Half of the host's memory shared among the cores, so that the runs' limits bind before the host's own."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1 * GIB, min(8 * GIB, memory // (2 * (os.cpu_count() or 1)) // MIB * MIB))


class Settings(BaseSettings):
    """Everything an operator may set. Each has a default that is safe on one host."""

    model_config = SettingsConfigDict(env_prefix="AIRLOCK_", frozen=True, extra="forbid")

    data_dir: Annotated[Path, Field(description="database, inputs and results; private to the server")] = Field(
        default_factory=_default_data_dir
    )
    host: Annotated[str, Field(description="address to listen on")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="port to listen on")] = 8750
    threads: Annotated[int, Field(ge=4, le=1024, description="requests served at once")] = 512
    workers: Annotated[int, Field(ge=1, le=256, description="runs executed at once")] = os.cpu_count() or 1

    image: Annotated[str, Field(description="the sandbox image, as the engine knows it")] = "airlock-sandbox:latest"
    runtime: Annotated[str, Field(description="OCI runtime of the engine: runc, runsc, ...")] = "runc"
    warm_containers: Annotated[int, Field(ge=0, le=1000, description="containers kept ready; 0: plain starts")] = 4
    sweep_seconds: Annotated[float, Field(gt=0, description="between two searches for leftovers")] = 30.0

    max_body_bytes: Annotated[int, Field(gt=0, description="one request's body")] = 4 * GIB
    max_json_bytes: Annotated[int, Field(gt=0, description="a JSON body")] = 2 * MIB
    min_free_bytes: Annotated[int, Field(ge=0, description="disk kept free: below it nothing is accepted")] = 64 * MIB
    max_script_bytes: Annotated[int, Field(gt=0, description="a script")] = 1 * MIB
    max_bundle_bytes: Annotated[int, Field(gt=0, description="a zip of modules, as uploaded")] = 64 * MIB
    max_wait_seconds: Annotated[float, Field(gt=0, description="longest ?wait=")] = 300.0
    max_queued_runs: Annotated[int, Field(gt=0, description="runs waiting, per tenant")] = 10_000
    max_batches: Annotated[int, Field(gt=0, description="batches that have not ended, per tenant")] = 100
    max_batch_items: Annotated[int, Field(gt=0, le=10_000, description="items of a batch")] = 10_000
    max_batch_parallel: Annotated[int, Field(gt=0, le=1024, description="items of a batch under way at once")] = 64
    engine_patience_seconds: Annotated[float, Field(ge=0, description="a run waits for an engine that is away")] = 300.0
    max_attempts: Annotated[int, Field(ge=1, description="how often a run is begun that the server interrupts")] = 3
    retry_seconds: Annotated[float, Field(gt=0, description="before the second attempt; four times as long each")] = 1.0
    drain_seconds: Annotated[float, Field(ge=0, description="for running runs to end when the server stops")] = 10.0
    idempotency_seconds: Annotated[float, Field(gt=0, description="an Idempotency-Key is remembered")] = 86_400.0

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

    def limits(
        self, timeout_seconds: float | None = None, memory_bytes: int | None = None, cpus: float | None = None
    ) -> Limits:
        """The limits a run gets: what it asked for or the default, cut to the maximum."""
        memory_bytes = min(memory_bytes or self.memory_bytes, self.max_memory_bytes)
        return Limits(
            timeout_seconds=min(timeout_seconds or self.timeout_seconds, self.max_timeout_seconds),
            memory_bytes=memory_bytes,
            cpus=min(cpus or self.cpus, self.max_cpus),
            processes=self.processes,
            work_bytes=self.work_bytes,
            work_inodes=self.work_inodes,
            output_bytes=self.output_bytes,
            log_bytes=self.log_bytes,
            images=self.images,
            images_bytes=self.images_bytes,
            inflated_bytes=min(self.inflated_bytes, memory_bytes // 2),
        )


def failpoint() -> str | None:
    """AIRLOCK_FAILPOINT, for tests only (failpoints.py): no setting, and in no document for operators."""
    return os.environ.get("AIRLOCK_FAILPOINT")
