"""Reading job.json: what is not as the contract has it is refused, before anything is done."""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from runner.job import (
    COMPRESSIONS,
    DTYPES,
    FORMATS,
    MAX_PARTS,
    PROFILES,
    TASKS,
    VERSION,
    Input,
    InvalidJob,
    Job,
    Limits,
    Output,
    Reading,
    Slice,
)


def read_job(path: Path) -> Job:
    """Read job.json.  Raises `InvalidJob` that says which field is wrong, and how."""
    try:
        data = json.loads(path.read_bytes())
        if data["version"] != VERSION:
            raise InvalidJob(f"job.json has version {data['version']!r}; this runner understands {VERSION}")
        job = Job(
            task=_one_of(TASKS, data["task"], "task"),
            profile=PROFILES[_one_of(tuple(PROFILES), data["profile"], "profile")],
            dtypes=_one_of(DTYPES, data["dtypes"], "dtypes"),
            inputs=tuple(_input(entry) for entry in data["inputs"]),
            bundle=None if data["bundle"] is None else _file_name(data["bundle"]),
            outputs=tuple(
                Output(
                    _one_of((1, 2), entry["port"], "output port"),
                    _file_name(entry["file"]),
                    _one_of(FORMATS, entry["format"], "output format"),
                )
                for entry in data["outputs"]
            ),
            limits=Limits(**{limit.name: int(data["limits"][limit.name]) for limit in fields(Limits)}),
            parameters=dict(data["parameters"]),
            group_by=_text_or_none(data["group_by"]),
        )
    except InvalidJob:
        raise
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InvalidJob(f"job.json cannot be read: {type(error).__name__}: {error}") from error
    return _fitting(job)


def _input(entry: Mapping[str, Any]) -> Input:
    reading = entry["reading"]
    return Input(
        port=_one_of((1, 2), entry["port"], "port"),
        file=_file_name(entry["file"]),
        format=_one_of(FORMATS, entry["format"], "input format"),
        compression=_one_of(COMPRESSIONS, entry["compression"], "compression"),
        reading=Reading(
            delimiter=reading["delimiter"],
            encoding=reading["encoding"],
            missing=tuple(reading["missing"]),
            dates=dict(reading["dates"]),
            types=dict(reading["types"]),
            columns=None if reading["columns"] is None else tuple(reading["columns"]),
        ),
        slice=None if entry["slice"] is None else _slice(entry["slice"]),
    )


def _slice(entry: Mapping[str, Any]) -> Slice:
    for name in ("offset", "rows"):
        if not isinstance(entry[name], int) or not 0 <= entry[name] < 2**63:
            raise InvalidJob(f"job.json: the slice's {name} is {entry[name]!r}; it must be a number from 0 on")
    return Slice(entry["offset"], entry["rows"])


def _fitting(job: Job) -> Job:
    """Make sure that a task has the inputs that it works on."""
    ports = [entry.port for entry in job.inputs]
    fits = {
        "run": len(set(ports)) == len(ports),
        "compare": sorted(ports) == [1, 2],
        "concatenate": set(ports) == {1} and len(ports) <= MAX_PARTS,
    }
    if not fits.get(job.task, ports == [1]):
        raise InvalidJob(f"job.json: {len(ports)} inputs on the ports {sorted(set(ports))} do not fit {job.task}")
    if (job.task == "group") != (job.group_by is not None):
        raise InvalidJob(f"job.json: group_by is {job.group_by!r}, which does not fit {job.task}")
    return job


def _text_or_none(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise InvalidJob(f"job.json: group_by is {value!r}; it must be the name of a column, or null")
    return value


def _one_of(allowed: tuple[Any, ...], value: Any, what: str) -> Any:
    if value not in allowed:
        raise InvalidJob(f"job.json: {what} is {value!r}; it must be one of {', '.join(map(str, allowed))}")
    return value


def _file_name(value: Any) -> str:
    if not isinstance(value, str) or value in ("", ".", "..") or "/" in value or "\0" in value:
        raise InvalidJob(f"job.json: {value!r} is not a plain file name")
    return value
