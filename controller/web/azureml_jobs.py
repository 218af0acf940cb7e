"""Batch execution (`jobs`) in Azure's form. A reference names a dataset of ours where Azure's named a blob, and results
are fetched from an address that carries its own proof, as a blob's did."""

from __future__ import annotations

import hashlib
import hmac
import time
from pathlib import PurePosixPath
from typing import Any

from flask import Response, jsonify, request

from controller.errors import AirlockError, NotFound, Unauthorized
from controller.model import Caller, Format, Status
from controller.services import calls, datasets, jobs, runs, scripts
from controller.services.backend import Backend
from controller.store.endpoint_store import Endpoint, Job
from controller.web import auth
from controller.web.azureml_tables import bad, parameters_in, ports_in
from controller.web.body import Body
from controller.web.endpoint_documents import azure_path
from controller.web.submission import parse_object
from controller.web.tables import table

_EXTENSIONS = {format.suffix: format for format in (Format.CSV, Format.TSV, Format.PARQUET, Format.ARROW, Format.JSON)}
_FIELDS = ("Input", "Inputs", "Outputs", "GlobalParameters")
TOKEN_SECONDS = 86_400


def submit(backend: Backend, endpoint: Endpoint) -> Response:
    """The id of the job, as a JSON string. Nothing is executed before it is started; EndpointOff."""
    calls.require_on(endpoint)
    document = parse_object(Body(request, backend.settings.max_json_bytes, "name datasets instead").read_all())
    if unknown := [name for name in document if name not in _FIELDS]:
        raise bad("InputParseError", f"{unknown[0][:100]!r} is no part of a job; these are {', '.join(_FIELDS)}")
    if document.get("Input") is not None and document.get("Inputs"):
        raise bad("DuplicateInputInBatchCall", "a job has either Input or Inputs", "Input")
    sent = document.get("Inputs") or {}
    if document.get("Input") is not None:
        sent = {endpoint.config.inputs[0]: document["Input"]}
    caller = calls.caller_of(endpoint)
    script = scripts.find(backend, caller, endpoint.script)
    outputs, format = _outputs(endpoint, document.get("Outputs") or {})
    accepted = {
        "inputs": [_input(backend, endpoint, port, ref) for port, ref in sorted(ports_in(endpoint, sent).items())],
        "outputs": outputs,
        "format": str(format),
        "parameters": parameters_in(script, document.get("GlobalParameters")),
    }
    return jsonify(jobs.add(backend, endpoint, accepted).id)


def _input(backend: Backend, endpoint: Endpoint, port: int, sent: Any) -> dict[str, Any]:
    """The dataset that a reference names: `name`, `name@3`, or a path that ends so, with or without a suffix."""
    where = endpoint.config.inputs[port - 1]
    location = sent.get("RelativeLocation") if isinstance(sent, dict) else None
    if not isinstance(location, str) or not location.strip("/"):
        raise bad("InputParseError", "a reference needs a RelativeLocation: the name of a dataset", where)
    last = PurePosixPath(location).name
    names = [last, PurePosixPath(last).stem]
    for name, _, version in (one.partition("@") for one in names):
        number = int(version) if version.isdecimal() and len(version) < 10 else None
        try:
            found = datasets.resolve(backend, calls.caller_of(endpoint), name, number)
        except NotFound:
            continue
        except AirlockError as e:
            raise bad("InputParseError", e.detail, where) from e
        return {"port": port, "name": found.name, "version": found.version}
    raise bad("InputParseError", f"there is no dataset {last[:100]!r}: put it first (PUT /v1/datasets/...)", where)


def _outputs(endpoint: Endpoint, sent: Any) -> tuple[dict[str, Any], Format]:
    """Which results are asked for, under which names, and the one format of all of them."""
    if not isinstance(sent, dict):
        raise bad("InputParseError", "Outputs must be an object: the name of an output to its reference", "Outputs")
    known = {name: port for port, name in enumerate(endpoint.config.outputs, 1)}
    found: dict[str, Any] = {}
    formats = []
    for name, ref in sent.items():
        if name not in known:
            message = f"there is no output {name[:100]!r}; there are: {', '.join(known)}"
            raise bad("InputMismatchError", message, "Outputs")
        location = ref.get("RelativeLocation") if isinstance(ref, dict) else None
        suffix = PurePosixPath(location).suffix.lower() if isinstance(location, str) else ""
        if suffix not in _EXTENSIONS:
            message = f"the RelativeLocation of {name!r} must end with one of {' '.join(_EXTENSIONS)}"
            raise bad("InvalidBlobExtension", message, name)
        found[name] = {"port": known[name], "suffix": suffix}
        formats.append(_EXTENSIONS[suffix])
    if not found:
        return {endpoint.config.outputs[0]: {"port": 1, "suffix": ".csv"}}, Format.CSV
    return found, formats[0]


def start(backend: Backend, endpoint: Endpoint, job_id: str) -> tuple[str, int]:
    jobs.start(backend, endpoint, jobs.get(backend, endpoint, job_id))
    return "", 204


def cancel(backend: Backend, endpoint: Endpoint, job_id: str) -> tuple[str, int]:
    jobs.cancel(backend, endpoint, jobs.get(backend, endpoint, job_id))
    return "", 204


def status(backend: Backend, endpoint: Endpoint, pepper: bytes, job_id: str) -> Response:
    """StatusCode by name; Results only when it is finished, Details only when it failed."""
    job = jobs.get(backend, endpoint, job_id)
    run = jobs.run_of(backend, job)
    state = jobs.state(job, run)
    details = None
    if state is jobs.State.FAILED:
        error = run.outcome.error if run and run.outcome else None
        reason = run.outcome.reason if run and run.outcome else "its run was deleted"
        details = f"Error {error.code}: {error.message}\n{error.traceback}" if error else f"the job failed: {reason}"
    results = None
    if state is jobs.State.FINISHED:
        results = {name: _reference(endpoint, pepper, job, name, one) for name, one in job.request["outputs"].items()}
    return jsonify(
        {
            "StatusCode": state,
            "Results": results,
            "Details": details,
            "CreatedAt": _moment(job.created_at),
            "StartTime": _moment(run.started_at) if run else None,
            "EndTime": _moment(run.finished_at) if run else None,
        }
    )


def _moment(at: Any) -> str | None:
    return at.isoformat() if at else None


def _reference(endpoint: Endpoint, pepper: bytes, job: Job, name: str, output: dict[str, Any]) -> dict[str, Any]:
    """Where a result lies: the three parts after the first, put together, are its address."""
    file = f"{name}{output['suffix']}"
    until = int(time.time()) + TOKEN_SECONDS
    return {
        "ConnectionString": None,
        "BaseLocation": request.host_url,
        "RelativeLocation": f"{azure_path(endpoint).lstrip('/')}/jobs/{job.id}/results/{file}",
        "SasBlobToken": f"?se={until}&sig={_signature(pepper, job.id, file, until)}",
    }


def result(backend: Backend, pepper: bytes, workspace: str, service: str, job_id: str, file: str) -> Response:
    """A result's file, for whoever has its address. Unauthorized when the address is not one that was given;
    TenantSuspended."""
    until, signature = request.args.get("se", ""), request.args.get("sig", "")
    named = until.isdecimal() and len(until) < 12 and signature.isascii()
    if not named or not hmac.compare_digest(signature, _signature(pepper, job_id, file, int(until))):
        raise Unauthorized("this address was not given by this server")
    if time.time() > int(until):
        raise Unauthorized("this address has expired: ask for the job's status to get another one")
    job = backend.endpoints.job(f"ept_{service}", job_id)
    if job is None:
        raise NotFound(jobs.NO_JOB)
    # Nobody's key was presented: in its place the audit log has whose result it is.
    auth.known_as(backend, Caller(tenant_id=job.tenant_id, key_id=job.endpoint_id, scopes=frozenset()))
    run = jobs.run_of(backend, job)
    name, _, _ = file.partition(".")
    if run is None or run.status is not Status.SUCCEEDED or name not in job.request["outputs"]:
        raise NotFound(jobs.NO_JOB)
    output = job.request["outputs"][name]
    format = _EXTENSIONS[output["suffix"]]
    return table(runs.output(backend, run, output["port"], format), f"{run.id}-{name}", format, name)


def _signature(pepper: bytes, job_id: str, file: str, until: int) -> str:
    return hmac.new(pepper, f"job result {job_id} {file} {until}".encode(), hashlib.sha256).hexdigest()
