"""The addresses of Azure ML Studio's web services: a client written for them needs another address and another key.

Request-response (`execute`) is a call of the endpoint, batch execution (`jobs`) a run that somebody looks after. Errors
have Azure's form. Sources of the rules: docs/hosting.md, Azure.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from flask import Blueprint, Response, g, jsonify, request
from werkzeug.exceptions import HTTPException

from controller.errors import (
    AirlockError,
    Busy,
    CallTimeout,
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    QuotaSpent,
    Refused,
    ScriptFailed,
    Throttled,
    TooLarge,
    TooManyRuns,
    Unauthorized,
)
from controller.model import Format, Input, Run
from controller.services import calls, endpoints, scripts
from controller.services.backend import Backend
from controller.store.endpoint_store import Endpoint
from controller.web import auth, azureml_jobs
from controller.web.azureml_pages import help_page, swagger
from controller.web.azureml_tables import (
    AzureError,
    bad,
    parameters_in,
    ports_in,
    table_in,
    table_out,
    too_large,
)
from controller.web.body import Body
from controller.web.endpoints import RUN_ID, perform
from controller.web.submission import TABLES, parse_json, parse_object

BASES = ("/workspaces/<workspace>/services/<service>", "/subscriptions/<workspace>/services/<service>")
_VERSIONS = ("2.0",)
_FIELDS = ("Inputs", "GlobalParameters")
_REASONS = {
    "bad_input": (400, "BadArgument", "InputParseError"),
    "timeout": (408, "RequestTimeout", "ScoreRequestTimeout"),
    "out_of_memory": (413, "OutOfMemoryLimit", "OutOfMemoryLimit"),
    "output_limit": (400, "LibraryExecutionError", "OutputLimit"),
    "schema_mismatch": (400, "LibraryExecutionError", "TableSchemaColumnCountMismatch"),
}
_KINDS: tuple[tuple[type[AirlockError], int, str, str], ...] = (
    (Unauthorized, 401, "Unauthorized", "ScoreRequestUnauthorized"),
    (Forbidden, 403, "Forbidden", "Forbidden"),
    (NotFound, 404, "NotFound", "JobNotFound"),
    (Conflict, 400, "InvalidOperation", "CannotStartJob"),
    (TooLarge, 413, "BadArgument", "RequestTooLarge"),
    (TooManyRuns, 503, "TooManyConcurrentRequests", "TooManyConcurrentRequests"),
    (QuotaSpent, 503, "TooManyConcurrentRequests", "TooManyConcurrentRequests"),
    (InvalidRequest, 400, "BadArgument", "InputParseError"),
    (Refused, 400, "BadArgument", "BadArgument"),
    (Throttled, 503, "RequestThrottled", "RequestThrottled"),
    (CallTimeout, 504, "BackendScoreTimeout", "BackendScoreTimeout"),
    (Busy, 503, "NoMoreResources", "NoMoreResources"),
    (AirlockError, 503, "NoMoreResources", "ServiceUnavailable"),
)
_MESSAGES = {
    "BadArgument": "Invalid argument provided.",
    "ModuleExecutionError": "Module execution encountered an error.",
    "LibraryExecutionError": "Module execution encountered an internal library error.",
}


def blueprint(backend: Backend, pepper: bytes) -> Blueprint:
    """The routes; each needs a key of the very endpoint that its address names."""
    bp = Blueprint("azureml", __name__)
    bp.register_error_handler(AirlockError, _refused)
    bp.register_error_handler(AzureError, _own)
    bp.register_error_handler(HTTPException, _http)

    @bp.after_request
    def _tell(response: Response) -> Response:
        if "run_id" in g:
            response.headers[RUN_ID] = g.run_id
        return response

    def route(path: str, method: str, view: Callable[..., Any]) -> None:
        def answer(workspace: str, service: str, **more: str) -> Any:
            return view(backend, _endpoint(backend, pepper, workspace, service), **more)

        for number, base in enumerate(BASES):
            bp.add_url_rule(base + path, f"{view.__name__}_{method}_{number}", answer, methods=[method])

    route("/execute", "POST", _execute)
    route("/jobs", "POST", azureml_jobs.submit)
    route("/jobs/<job_id>/start", "POST", azureml_jobs.start)
    route("/jobs/<job_id>", "GET", _named(azureml_jobs.status, pepper))
    route("/jobs/<job_id>", "DELETE", azureml_jobs.cancel)
    route("/swagger.json", "GET", _swagger)
    route("/score", "GET", _help)
    for number, base in enumerate(BASES):
        result = partial(azureml_jobs.result, backend, pepper)
        bp.add_url_rule(f"{base}/jobs/<job_id>/results/<file>", f"result_{number}", result)
    return bp


def _named(view: Callable[..., Any], pepper: bytes) -> Callable[..., Any]:
    def bound(backend: Backend, endpoint: Endpoint, **more: str) -> Any:
        return view(backend, endpoint, pepper, **more)

    bound.__name__ = view.__name__
    return bound


def _endpoint(backend: Backend, pepper: bytes, workspace: str, service: str) -> Endpoint:
    """The endpoint whose key is presented, if the address is its own. Unauthorized, whatever else is wrong."""
    endpoint = endpoints.authenticate(backend, pepper, auth.presented())
    own = [id.partition("_")[2] for id in (endpoint.tenant_id, endpoint.id)]
    if [workspace, service] != own:
        raise Unauthorized(endpoints.NO_KEY)
    auth.known_as(backend, calls.caller_of(endpoint))
    version = request.args.get("api-version")
    if version not in (None, *_VERSIONS):
        raise bad("UnsupportedApiVersion", f"api-version must be {', '.join(_VERSIONS)}", "api-version")
    return endpoint


def _execute(backend: Backend, endpoint: Endpoint) -> Response:
    details, as_objects = _flag("details", "true"), _flag("format", "swagger")
    with calls.place(backend, endpoint), backend.workspaces.stage() as staging:
        document = _document(backend)
        script = scripts.find(backend, calls.caller_of(endpoint), endpoint.script)
        columns = endpoint.signature.inputs if endpoint.signature else {}
        inputs = []
        for port, sent in sorted(ports_in(endpoint, document.get("Inputs", {})).items()):
            name = endpoint.config.inputs[port - 1]
            staging.write(TABLES[port - 1], table_in(name, sent, columns.get(port)))
            inputs.append(Input(port=port, format=Format.AZURE_JSON))
        parameters = parameters_in(script, document.get("GlobalParameters"))
        run = perform(backend, endpoint, staging, tuple(inputs), parameters, Format.AZURE_JSON)
        limit = backend.settings.max_json_bytes * 8
        results = {
            name: table_out(_table(backend, run, port, limit), limit, details=details, swagger=as_objects)
            for port, name in enumerate(endpoint.config.outputs, 1)
            if port in run.job.profile.output_ports
        }
    response = jsonify({"Results": results})
    response.call_on_close(lambda: calls.forget(backend, endpoint, run, failed=False))
    return response


def _document(backend: Backend) -> dict[str, Any]:
    limit = backend.settings.max_json_bytes
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if request.mimetype != "application/json" or charset not in ("utf-8", "utf8"):
        raise bad("InputParseError", "the body must be application/json, in UTF-8", "Content-Type")
    document = parse_object(Body(request, limit, "large tables go through batch execution").read_all())
    if unknown := [name for name in document if name not in _FIELDS]:
        raise bad("InputParseError", f"{unknown[0][:100]!r} is no part of a request; these are {', '.join(_FIELDS)}")
    return document


def _table(backend: Backend, run: Run, port: int, limit: int) -> dict[str, Any]:
    """A result, written in the sandbox: as any JSON from outside it is bounded, and read with care."""
    try:
        with backend.workspaces.of(run.id).result(port, Format.AZURE_JSON).open("rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        raise NotFound("the run was deleted meanwhile") from None
    if len(data) > limit:
        raise too_large(limit)
    if (found := table_written(data)) is None:
        raise AzureError(400, "LibraryExecutionError", "OutputFormat", "the sandbox did not write a table")
    return found


def table_written(data: bytes) -> dict[str, Any] | None:
    """The table in a result's file; None when there is none: the script could write there as well as the runner."""
    try:
        found = parse_json(data, "result")
    except InvalidRequest:
        return None
    names, values = (found.get("ColumnNames"), found.get("Values")) if isinstance(found, dict) else (None, None)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or not isinstance(values, list):
        return None
    if not all(isinstance(row, list) and len(row) == len(names) for row in values):
        return None
    return {"ColumnNames": names, "ColumnTypes": found.get("ColumnTypes"), "Values": values}


def _flag(name: str, wanted: str) -> bool:
    sent = request.args.get(name)
    if sent is not None and sent.lower() not in (wanted, "false"):
        raise bad("BadArgument", f"{name} may be {wanted!r}, not {sent[:40]!r}", name)
    return sent is not None and sent.lower() == wanted


def _swagger(backend: Backend, endpoint: Endpoint) -> Response:
    return jsonify(swagger(endpoint, _served(backend, endpoint), request.host_url))


def _help(backend: Backend, endpoint: Endpoint) -> Response:
    page = help_page(endpoint, _served(backend, endpoint), request.host_url)
    response = Response(page, mimetype="text/html")
    response.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    return response


def _served(backend: Backend, endpoint: Endpoint) -> Any:
    return scripts.find(backend, calls.caller_of(endpoint), endpoint.script)


# -- refusals ----------------------------------------------------------------------------------------------------


def _own(error: AzureError) -> Response:
    return _error(error.status, error.code, error.detail_code, error.message, error.target)


def _refused(error: AirlockError) -> Response:
    """An error in Azure's form: {"error": {"code", "message", "details": [{"code", "target", "message"}]}}."""
    g.refused = error.code
    if isinstance(error, ScriptFailed):
        default = (400, "ModuleExecutionError", error.error.get("code"))
        status, code, detail_code = _REASONS.get(error.code, default)
        message = f"Error {error.error.get('code')}: {error.detail}"
        if traceback := error.error.get("traceback"):
            message += f"\n{traceback}"
        return _error(status, code, str(detail_code), message)
    _, status, code, detail_code = next(row for row in _KINDS if isinstance(error, row[0]))
    places = getattr(error, "errors", None) or [{}]
    return _error(status, code, detail_code, error.detail, places[0].get("where", ""))


def _http(error: HTTPException) -> Response:
    response = _error(error.code or 500, "BadArgument", error.name.replace(" ", ""), error.description or error.name)
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response


def _error(status: int, code: str, detail_code: str, message: str, target: str = "") -> Response:
    details = [{"code": detail_code, "target": target, "message": message}]
    body = {"error": {"code": code, "message": _MESSAGES.get(code, message), "details": details}}
    response = Response(json.dumps(body), status, mimetype="application/json")
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="airlock"'
    if status == 503:
        response.headers["Retry-After"] = "5"
    return response
