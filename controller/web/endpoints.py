"""/v1/endpoints: scripts that are published as services, and their calls."""

from __future__ import annotations

from typing import Any

from flask import Response, g, jsonify, request, send_file
from flask_openapi import APIBlueprint, Schema, Tag

from controller.errors import Conflict, Forbidden, NotAcceptable, NotFound, Unauthorized
from controller.model import Format, Input, Run
from controller.services import calls, endpoints, runs, scripts
from controller.services.backend import Backend
from controller.store.endpoint_store import Endpoint
from controller.web import auth, body
from controller.web.call_body import CallBody, Records, receive
from controller.web.documents import NoQuery
from controller.web.endpoint_documents import (
    CallQuery,
    EndpointBody,
    EndpointDocument,
    EndpointList,
    EndpointPath,
    EndpointsQuery,
    KeyDocument,
    KeyPath,
    UsageDocument,
    endpoint_document,
)
from controller.web.endpoint_openapi import openapi
from controller.web.refusals import answers
from controller.web.script_body import small
from controller.web.small_body import schemas
from controller.web.submission import refuse
from controller.web.tables import BINARY, BY_MEDIA_TYPE, TABLES

RUN_ID = "Airlock-Run-Id"
_SCHEMAS = "#/components/schemas"
_JSON, _PNG = "application/json", "image/png"
_PUT = {"required": True, "content": {_JSON: {"schema": {"$ref": f"{_SCHEMAS}/{EndpointBody.__name__}"}}}}
_CALL = {
    "content": {
        **TABLES,
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "dataframe1": {**BINARY, "description": "a table; its format by Content-Type, else by name"},
                    "dataframe2": {**BINARY, "description": "likewise"},
                    "parameters": {"type": "string", "description": "a JSON object"},
                },
            }
        },
        _JSON: {
            "schema": {
                "anyOf": [
                    {"$ref": f"{_SCHEMAS}/{CallBody.__name__}"},
                    {"type": "array", "items": {"type": "object"}, "description": "the rows of the first table"},
                ]
            }
        },
    }
}
_TABLE: dict[str | int, Any] = {
    200: {"description": "the result table; or its first image", "content": {**TABLES, _PNG: {"schema": BINARY}}},
    **answers(404, 406, 408, 409, 413, 415, 429, 504, 507),
}


def component_schemas() -> dict[str, Schema]:
    """The schemas that only bodies speak of."""
    return schemas(EndpointBody, CallBody, Records)


def blueprint(backend: Backend, pepper: bytes) -> APIBlueprint:
    """The routes of owners: looking needs a key with the scope `run`, changing one with `publish`."""
    bp = APIBlueprint(
        "endpoints", __name__, url_prefix="/v1/endpoints", abp_tags=[Tag(name="endpoints")], abp_security=auth.SECURITY
    )
    bp.before_request(auth.requires(backend, pepper, "run", changing="publish"))
    _changing(bp, backend, pepper)
    _asking(bp, backend)
    return bp


def _changing(bp: APIBlueprint, backend: Backend, pepper: bytes) -> None:
    put_answers = {200: EndpointDocument, 201: EndpointDocument, **answers(404, 412, 413, 415, 429, 507)}

    @bp.put("/<name>", summary="Publish a script", request_body=_PUT, responses=put_answers)
    def put(path: EndpointPath, query: NoQuery) -> Response:
        """201 with a new endpoint and its two keys, shown now and never again; 200 with one that was changed. Calls at
        work end as they began. `If-None-Match: *` publishes only what is not there, `If-Match` only over the revision
        that it names. A script with samples is run once, to learn the columns of its tables."""
        wanted = small(request, EndpointBody)
        found, keys = endpoints.publish(
            backend, auth.caller(), pepper, path.name, scripts.parse(wanted.script), wanted.config, _expected()
        )
        response = _one(backend, found, keys)
        response.status_code = 201 if keys else 200
        response.headers["Location"] = f"/v1/endpoints/{path.name}"
        return response

    back = {200: EndpointDocument, **answers(404, 409, 412)}

    @bp.post("/<name>/rollback", summary="Serve what was served before", responses=back)
    def rollback(path: EndpointPath, query: NoQuery) -> Response:
        """The script of the last change but one; of `@latest`, the version before the newest."""
        return _one(backend, endpoints.roll_back(backend, auth.caller(), path.name))

    @bp.post("/<name>/keys/<which>/regenerate", summary="Replace a key", responses={200: KeyDocument, **answers(404)})
    def regenerate(path: KeyPath, query: NoQuery) -> dict[str, str]:
        """The old one is void at once; the other one stays as it is."""
        return {"key": endpoints.regenerate(backend, auth.caller(), pepper, path.name, path.which)}

    @bp.delete("/<name>", summary="Take an endpoint away", responses={204: None, **answers(404)})
    def delete(path: EndpointPath, query: NoQuery) -> tuple[str, int]:
        """Its keys are void at once. Runs of its calls stay."""
        endpoints.delete(backend, auth.caller(), path.name)
        return "", 204


def _asking(bp: APIBlueprint, backend: Backend) -> None:
    @bp.get("", summary="List endpoints, by name", responses={200: EndpointList, **answers()})
    def page(query: EndpointsQuery) -> dict[str, Any]:
        found = endpoints.page(backend, auth.caller(), query.limit, query.cursor or "")
        items = [endpoint_document(one, endpoints.served(backend, one)) for one in found.endpoints]
        return {"items": items, "next_cursor": found.after}

    @bp.get("/<name>", summary="One endpoint", responses={200: EndpointDocument, **answers(404)})
    def one(path: EndpointPath, query: NoQuery) -> Response:
        return _one(backend, endpoints.get(backend, auth.caller(), path.name))

    @bp.get("/<name>/usage", summary="Its calls, day by day", responses={200: UsageDocument, **answers(404)})
    def usage(path: EndpointPath, query: NoQuery) -> dict[str, Any]:
        """Of the last 90 days, the newest first."""
        found = endpoints.get(backend, auth.caller(), path.name)
        return {"at_work": backend.traffic.at_work(found), "items": endpoints.usage(backend, found)}


def calling(backend: Backend, pepper: bytes) -> APIBlueprint:
    """The routes of callers: each needs one of the endpoint's own keys, or its tenant's with the scope `run`."""
    bp = APIBlueprint(
        "calls", __name__, url_prefix="/v1/endpoints", abp_tags=[Tag(name="endpoints")], abp_security=auth.SECURITY
    )

    @bp.after_request
    def _tell(response: Response) -> Response:
        if "run_id" in g:
            response.headers[RUN_ID] = g.run_id
        return response

    @bp.post("/<name>/call", summary="Call an endpoint", request_body=_CALL, responses=_TABLE)
    def call(path: EndpointPath, query: CallQuery) -> Response:
        """The body is the first table, in any format; or a JSON object, or a multipart body, of `dataframe1`,
        `dataframe2` and `parameters`. The answer is the result in the format that `Accept` asks for, JSON if it asks
        for nothing. A script that fails is answered with 422, and its error."""
        endpoint = _endpoint(backend, pepper, path.name)
        wanted = _accepted()
        with calls.place(backend, endpoint), backend.workspaces.stage() as staging:
            inputs, parameters = receive(request, staging, backend.settings, query.parameters)
            run = perform(backend, endpoint, staging, inputs, parameters, wanted or Format.ARROW)
        return _answer(backend, endpoint, run, wanted)

    schema = {"type": "object"}
    document = {200: {"description": "an OpenAPI document", "content": {_JSON: {"schema": schema}}}, **answers(404)}

    @bp.get("/<name>/openapi.json", summary="How to call it, as an OpenAPI document", responses=document)
    def described(path: EndpointPath, query: NoQuery) -> dict[str, Any]:
        """Made of the columns that its sample run had, and of the parameters that its script declares."""
        endpoint = _endpoint(backend, pepper, path.name)
        return openapi(endpoint, backend.scripts.find(endpoint.tenant_id, endpoint.script), request.host_url)

    return bp


def perform(
    backend: Backend,
    endpoint: Endpoint,
    staging: Any,
    inputs: tuple[Input, ...],
    parameters: dict[str, Any],
    wanted: Format,
) -> Run:
    """A call, whose run every answer tells from the moment when it was accepted."""

    def began(run: Run) -> None:
        g.run_id = run.id

    return calls.call(
        backend, endpoint, staging, inputs, parameters, wanted, began, body.departure(request.environ)
    )


def _endpoint(backend: Backend, pepper: bytes, name: str) -> Endpoint:
    """The endpoint that is called, by somebody who may. Unauthorized, Forbidden, NotFound."""
    presented = auth.presented()
    if presented.startswith(f"{endpoints.KEY}_"):
        endpoint = endpoints.authenticate(backend, pepper, presented)
        if endpoint.name != name:
            raise Unauthorized(endpoints.NO_KEY)
        auth.known_as(backend, calls.caller_of(endpoint))
        return endpoint
    caller = auth.identified(backend, pepper, presented)
    if "run" not in caller.scopes:
        raise Forbidden("this API key lacks the scope 'run'")
    return endpoints.get(backend, caller, name)


def _accepted() -> Format | None:
    """The format that is asked for; None for an image."""
    if not request.headers.get("Accept"):
        return Format.JSON
    best = request.accept_mimetypes.best_match([_JSON, *BY_MEDIA_TYPE, _PNG])
    if best is None:
        raise NotAcceptable(f"the result can be had as {', '.join([*BY_MEDIA_TYPE, _PNG])}")
    return None if best == _PNG else BY_MEDIA_TYPE[str(best)]


def _answer(backend: Backend, endpoint: Endpoint, run: Run, wanted: Format | None) -> Response:
    response = _image(backend, run) if wanted is None else _table(backend, run, wanted)
    response.headers["Vary"] = "Accept"
    calls.forget(backend, endpoint, run, failed=False)  # what is sent is open already
    return response


def _image(backend: Backend, run: Run) -> Response:
    images = run.outcome.images if run.outcome else ()
    for image in images:
        if image.type == _PNG:
            return Response(runs.image(backend, run, image.name)[1], mimetype=_PNG)
    raise Conflict("the script left no PNG", code="no_output")


def _table(backend: Backend, run: Run, wanted: Format) -> Response:
    path = runs.output(backend, run, 1, wanted)
    try:
        return send_file(path, mimetype=wanted.media_type, conditional=False, etag=False)
    except FileNotFoundError as e:
        raise NotFound("it was deleted meanwhile") from e


def _expected() -> int | None:
    """The revision that If-Match names; 0 for If-None-Match: *. InvalidRequest."""
    other = request.headers.get("If-None-Match")
    if other is not None:
        if other.strip() != "*":
            refuse("If-None-Match", "only `*` is understood here: the endpoint is published if there is none")
        return 0
    if "If-Match" not in request.headers:
        return None
    tags = sorted(request.if_match.as_set(True))
    if len(tags) != 1 or not tags[0].isdecimal() or len(tags[0]) > 9:
        refuse("If-Match", "one revision is understood here, as ETag gives it")
    return int(tags[0])


def _one(backend: Backend, endpoint: Endpoint, keys: dict[str, str] | None = None) -> Response:
    response = jsonify(endpoint_document(endpoint, endpoints.served(backend, endpoint), keys))
    response.set_etag(str(endpoint.revision))
    return response


