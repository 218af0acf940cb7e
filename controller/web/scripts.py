"""/v1/scripts: scripts that are kept under a name, in versions that never change."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify, request
from flask_openapi import APIBlueprint, Schema, Tag

from controller.services import scripts
from controller.services.backend import Backend
from controller.store.script_store import ScriptVersion
from controller.web import auth
from controller.web.cursors import read_cursor, write_cursor
from controller.web.documents import NoQuery
from controller.web.refusals import answers
from controller.web.script_body import SOURCE_TYPES, receive, small
from controller.web.script_documents import (
    DeleteQuery,
    ScriptBody,
    ScriptDocument,
    ScriptList,
    ScriptOptions,
    ScriptPath,
    ScriptsQuery,
    ScriptVersionPath,
    TagBody,
    TagPath,
    VersionsQuery,
    WhichQuery,
    script_document,
)
from controller.web.small_body import schemas
from controller.web.tables import BINARY, download
from controller.workspace import BUNDLE, SCRIPT

_SCHEMAS = "#/components/schemas"
_TEXT = {"type": "string"}
_JSON = "application/json"
_PUT = {
    "required": True,
    "content": {
        **{kind: {"schema": {**_TEXT, "description": "the script alone"}} for kind in SOURCE_TYPES},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["script"],
                "additionalProperties": False,
                "properties": {
                    "script": {**_TEXT, "description": "Python source that defines azureml_main"},
                    "bundle": {**BINARY, "description": "a zip of modules"},
                    "dataframe1": {**BINARY, "description": "a sample table; its format by Content-Type, else by name"},
                    "dataframe2": {**BINARY, "description": "likewise"},
                    "options": {**_TEXT, "description": "JSON, as `options` of the JSON body"},
                },
            }
        },
        _JSON: {"schema": {"$ref": f"{_SCHEMAS}/{ScriptBody.__name__}"}},
    },
}
_TAG = {"required": True, "content": {_JSON: {"schema": {"$ref": f"{_SCHEMAS}/{TagBody.__name__}"}}}}
_SOURCE: dict[str | int, Any] = {200: {"description": "the source", "content": {SOURCE_TYPES[0]: {"schema": _TEXT}}}}
_ZIP: dict[str | int, Any] = {200: {"description": "the zip", "content": {"application/zip": {"schema": BINARY}}}}
_FILE_ANSWERS: dict[str | int, Any] = {
    206: {"description": "the part of it that `Range` asks for"},
    304: {"description": "it is the one that `If-None-Match` names"},
    **answers(404, 412, 416),
}


def component_schemas() -> dict[str, Schema]:
    """The schemas that only bodies speak of."""
    return schemas(ScriptBody, ScriptOptions, TagBody)


def blueprint(backend: Backend, pepper: bytes) -> APIBlueprint:
    """The routes: looking needs a key with the scope `run`, changing one with `publish`."""
    bp = APIBlueprint(
        "scripts", __name__, url_prefix="/v1/scripts", abp_tags=[Tag(name="scripts")], abp_security=auth.SECURITY
    )
    bp.before_request(auth.requires(backend, pepper, "run", changing="publish"))
    _changing(bp, backend)
    _asking(bp, backend)
    _reading(bp, backend)
    return bp


def _changing(bp: APIBlueprint, backend: Backend) -> None:
    put_answers = {200: ScriptDocument, 201: ScriptDocument, **answers(413, 415, 429, 507)}

    @bp.put("/<name>", summary="Put a version of a script", request_body=_PUT, responses=put_answers)
    def put(path: ScriptPath, query: NoQuery) -> Response:
        """201 with the next version of this name; 200 with the newest, when that has the same content: script, bundle,
        options, samples."""
        with backend.workspaces.stage() as staging:
            upload = receive(request, staging, backend.settings, path.name)
            found, new = scripts.put(backend, auth.caller(), staging, upload)
        response = _one(backend, found)
        response.status_code = 201 if new else 200
        response.headers["Location"] = f"/v1/scripts/{path.name}/versions/{found.version}"
        return response

    @bp.delete("/<name>", summary="Delete a script, or a version", responses={204: None, **answers(404, 409)})
    def delete(path: ScriptPath, query: DeleteQuery) -> tuple[str, int]:
        """With the tags on it. Runs and batches that took it keep it. Its numbers are never given again."""
        scripts.delete(backend, auth.caller(), path.name, query.version)
        return "", 204

    tag_answers = {200: ScriptDocument, **answers(404, 413, 415)}

    @bp.put("/<name>/tags/<tag>", summary="Put a tag on a version", request_body=_TAG, responses=tag_answers)
    def tag(path: TagPath, query: NoQuery) -> Response:
        """Wherever it was before. Every name has the tag `latest`, which moves by itself."""
        wanted = small(request, TagBody)
        scripts.tag(backend, auth.caller(), path.name, path.tag, wanted.version)
        return _one(backend, scripts.find(backend, auth.caller(), scripts.named(path.name, str(wanted.version))))

    @bp.delete("/<name>/tags/<tag>", summary="Take a tag away", responses={204: None, **answers(404, 409)})
    def untag(path: TagPath, query: NoQuery) -> tuple[str, int]:
        scripts.untag(backend, auth.caller(), path.name, path.tag)
        return "", 204


def _asking(bp: APIBlueprint, backend: Backend) -> None:
    @bp.get("", summary="List scripts, newest first", responses={200: ScriptList, **answers()})
    def page(query: ScriptsQuery) -> dict[str, Any]:
        """The newest version of each."""
        before = read_cursor(query.cursor) if query.cursor else None
        found = scripts.page(backend, auth.caller(), query.limit, query.prefix, before)
        return {
            "items": [script_document(one, scripts.tags(backend, one)) for one in found.scripts],
            "next_cursor": write_cursor(*found.before) if found.before else None,
        }

    @bp.get("/<name>", summary="One script", responses={200: ScriptDocument, **answers(404)})
    def one(path: ScriptPath, query: WhichQuery) -> Response:
        """The newest version; with `which`, the one of this number or under this tag."""
        return _one(backend, scripts.find(backend, auth.caller(), scripts.named(path.name, query.which)))

    @bp.get("/<name>/versions", summary="Its versions, newest first", responses={200: ScriptList, **answers(404)})
    def versions(path: ScriptPath, query: VersionsQuery) -> dict[str, Any]:
        below = int(query.cursor) if query.cursor else None
        found = scripts.versions(backend, auth.caller(), path.name, query.limit, below)
        tags = scripts.tags(backend, found.scripts[0]) if found.scripts else {}
        return {
            "items": [script_document(one, tags) for one in found.scripts],
            "next_cursor": str(found.below) if found.below else None,
        }

    @bp.get("/<name>/versions/<int:version>", summary="One version", responses={200: ScriptDocument, **answers(404)})
    def version(path: ScriptVersionPath, query: NoQuery) -> Response:
        return _one(backend, scripts.find(backend, auth.caller(), scripts.named(path.name, str(path.version))))


def _reading(bp: APIBlueprint, backend: Backend) -> None:
    @bp.get("/<name>/source", summary="Its text", responses={**_SOURCE, **_FILE_ANSWERS})
    def source(path: ScriptPath, query: WhichQuery) -> Response:
        """As it was put."""
        return _file(path, query, SCRIPT, SOURCE_TYPES[0])

    @bp.get("/<name>/bundle", summary="Its bundle", responses={**_ZIP, **_FILE_ANSWERS})
    def bundle(path: ScriptPath, query: WhichQuery) -> Response:
        """404 where the version has none."""
        return _file(path, query, BUNDLE, "application/zip")

    def _file(path: ScriptPath, query: WhichQuery, name: str, media_type: str) -> Response:
        found, file = scripts.file(backend, auth.caller(), scripts.named(path.name, query.which), name)
        return download(file, f"{found.id}.{name}", media_type, f"{found.name}-{found.version}{file.suffix}")


def _one(backend: Backend, script: ScriptVersion) -> Response:
    response = jsonify(script_document(script, scripts.tags(backend, script)))
    response.set_etag(script.id)
    return response
