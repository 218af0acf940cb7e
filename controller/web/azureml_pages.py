"""What tells a developer how an endpoint is called through Azure's interface: a Swagger 2.0 document, and a page with
samples that work when they are copied."""

from __future__ import annotations

import html
import json
from typing import Any

from controller.model import Column
from controller.store.endpoint_store import Endpoint
from controller.store.script_store import ScriptVersion
from controller.web.azureml_tables import column_type
from controller.web.endpoint_documents import azure_path
from controller.web.endpoint_openapi import json_type

_KEY = "YOUR_KEY"
_EXAMPLES = {"Boolean": "true", "Double": "0.5", "Single": "0.5", "DateTime": "2026-01-02T03:04:05", "String": "text"}


def swagger(endpoint: Endpoint, script: ScriptVersion, host: str) -> dict[str, Any]:
    """Swagger 2.0: `execute` with tables as lists of objects (`format=swagger`), and the four operations of jobs."""
    scheme, _, authority = host.rstrip("/").partition("://")
    job = {"name": "id", "in": "path", "required": True, "type": "string"}
    version = {"name": "api-version", "in": "query", "required": True, "type": "string", "enum": ["2.0"]}
    return {
        "swagger": "2.0",
        "info": {"title": endpoint.name, "version": str(script.version), "description": endpoint.config.description},
        "host": authority,
        "basePath": azure_path(endpoint),
        "schemes": [scheme],
        "consumes": ["application/json"],
        "produces": ["application/json"],
        "security": [{"Bearer": []}],
        "securityDefinitions": {"Bearer": {"type": "apiKey", "name": "Authorization", "in": "header"}},
        "paths": {
            "/execute": {
                "post": _operation(
                    "execute",
                    "Run the service on a request's tables",
                    [
                        version,
                        {"name": "format", "in": "query", "required": True, "type": "string", "enum": ["swagger"]},
                        _body("ExecutionRequest"),
                    ],
                    {"200": _answer("the results", {"$ref": "#/definitions/ExecutionResults"})},
                )
            },
            "/jobs": {
                "post": _operation(
                    "batch",
                    "Accept a job",
                    [version, _body("BatchRequest")],
                    {"200": _answer("the job's id", {"type": "string"})},
                )
            },
            "/jobs/{id}": {
                "get": _operation(
                    "getStatus",
                    "How a job stands",
                    [version, job],
                    {"200": _answer("its state and its results", {"$ref": "#/definitions/BatchStatus"})},
                ),
                "delete": _operation("cancel", "Stop a job", [version, job], {"204": {"description": "it is stopped"}}),
            },
            "/jobs/{id}/start": {
                "post": _operation("start", "Start a job", [version, job], {"204": {"description": "it is started"}})
            },
        },
        "definitions": _definitions(endpoint, script),
    }


def _operation(id: str, summary: str, parameters: list[Any], responses: dict[str, Any]) -> dict[str, Any]:
    refused = _answer("refused, or failed", {"$ref": "#/definitions/ErrorResponse"})
    return {
        "operationId": id,
        "summary": summary,
        "parameters": parameters,
        "responses": responses | {"default": refused},
    }


def _body(name: str) -> dict[str, Any]:
    return {"name": "request", "in": "body", "required": True, "schema": {"$ref": f"#/definitions/{name}"}}


def _answer(words: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": words, "schema": schema}


def _definitions(endpoint: Endpoint, script: ScriptVersion) -> dict[str, Any]:
    parts = ("ConnectionString", "RelativeLocation", "BaseLocation", "SasBlobToken")
    reference = {"type": "object", "properties": {name: {"type": "string"} for name in parts}}
    inputs = {name: _rows(columns) for name, columns in _inputs(endpoint).items()}
    outputs = {name: _rows(columns) for name, columns in _outputs(endpoint, script).items()}
    parameters = {
        name: {"type": str(one.type), "description": one.description} for name, one in (script.parameters or {}).items()
    }
    references = {"type": "object", "additionalProperties": {"$ref": "#/definitions/Reference"}}
    return {
        "ExecutionRequest": {
            "type": "object",
            "properties": {
                "Inputs": {"type": "object", "properties": inputs},
                "GlobalParameters": {"type": "object", "properties": parameters},
            },
        },
        "ExecutionResults": {
            "type": "object",
            "properties": {"Results": {"type": "object", "properties": outputs}},
        },
        "BatchRequest": {
            "type": "object",
            "properties": {
                "Inputs": references,
                "Outputs": references,
                "GlobalParameters": {"type": "object", "properties": parameters},
            },
        },
        "BatchStatus": {
            "type": "object",
            "properties": {
                "StatusCode": {
                    "type": "string",
                    "enum": ["NotStarted", "Running", "Failed", "Cancelled", "Finished"],
                },
                "Results": references,
                "Details": {"type": "string"},
            },
        },
        "Reference": reference,
        "ErrorResponse": {
            "type": "object",
            "properties": {
                "error": {
                    "type": "object",
                    "properties": {
                        "code": {"type": "string"},
                        "message": {"type": "string"},
                        "details": {"type": "array", "items": {"type": "object"}},
                    },
                }
            },
        },
    }


def _rows(columns: tuple[Column, ...] | None) -> dict[str, Any]:
    cells = {column.name: json_type(column.type) for column in columns or ()}
    return {"type": "array", "items": {"type": "object", "properties": cells}}


def _inputs(endpoint: Endpoint) -> dict[str, tuple[Column, ...] | None]:
    """The names of the inputs that a request has, and their columns as far as they are known."""
    known = endpoint.signature.inputs if endpoint.signature else {}
    named = dict(enumerate(endpoint.config.inputs, 1))
    return {named[port]: columns for port, columns in known.items() if port in named} or {named[1]: None}


def _outputs(endpoint: Endpoint, script: ScriptVersion) -> dict[str, tuple[Column, ...] | None]:
    known = endpoint.signature.outputs if endpoint.signature else {}
    ports = script.defaults.profile.output_ports
    return {name: known.get(port) for port, name in enumerate(endpoint.config.outputs, 1) if port in ports}


def example(endpoint: Endpoint, script: ScriptVersion) -> dict[str, Any]:
    """A request, made of what is known of the columns."""
    tables = {}
    for name, columns in _inputs(endpoint).items():
        types = {column.name: column_type(column.type) for column in columns or ()}
        tables[name] = {"ColumnNames": list(types), "Values": [[_EXAMPLES.get(kind, "1") for kind in types.values()]]}
    values = {"string": "text", "integer": 1, "number": 0.5, "boolean": True}
    parameters = {
        name: one.default if one.default is not None else values[str(one.type)]
        for name, one in (script.parameters or {}).items()
    }
    return {"Inputs": tables, "GlobalParameters": parameters}


def help_page(endpoint: Endpoint, script: ScriptVersion, host: str) -> str:
    """HTML without a line of script in it."""
    base = host.rstrip("/") + azure_path(endpoint)
    asked = example(endpoint, script)
    text = json.dumps(asked, indent=2)
    samples = {
        "Python": _PYTHON.format(url=f"{base}/execute?api-version=2.0&details=true", key=_KEY, request=repr(asked)),
        "curl": _CURL.format(url=f"{base}/execute?api-version=2.0&details=true", key=_KEY, request=_quoted(text)),
        "R": _R.format(url=f"{base}/execute?api-version=2.0&details=true", key=_KEY, request=_quoted(text)),
        "C#": _CSHARP.replace("URL", f"{base}/execute?api-version=2.0&details=true")
        .replace("KEY", _KEY)
        .replace("REQUEST", text.replace('"', '""')),
    }
    shown = "\n".join(
        f'<h2>{html.escape(name)}</h2>\n<pre class="{html.escape(name.lower())}">{html.escape(code)}</pre>'
        for name, code in samples.items()
    )
    title = html.escape(endpoint.name)
    return _PAGE.format(
        title=title,
        description=html.escape(endpoint.config.description or script.description),
        base=html.escape(base),
        samples=shown,
    )


def _quoted(text: str) -> str:
    """For a text between single quotes in a shell, or in R's raw form."""
    return text.replace("'", "\\u0027")


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body{{font-family:sans-serif;max-width:60em;margin:2em auto}}
pre{{background:#eee;padding:1em;overflow:auto}}</style>
</head><body><h1>{title}</h1><p>{description}</p>
<p>Request-response: <code>POST {base}/execute?api-version=2.0</code>.
Batch execution: <code>POST {base}/jobs</code>, then <code>/jobs/ID/start</code> and <code>GET /jobs/ID</code>.
The description of all of it: <code>GET {base}/swagger.json</code>.</p>
{samples}
</body></html>
"""
_PYTHON = """import json
import urllib.error
import urllib.request

request = {request}
sent = urllib.request.Request(
    "{url}",
    data=json.dumps(request).encode("utf-8"),
    headers={{"Content-Type": "application/json", "Authorization": "Bearer {key}"}},
)
try:
    with urllib.request.urlopen(sent) as answer:
        print(json.dumps(json.load(answer), indent=2))
except urllib.error.HTTPError as error:
    print("refused with status", error.code, error.read().decode("utf-8"))
"""
_CURL = """curl -sS "{url}" \\
  -H "Authorization: Bearer {key}" -H "Content-Type: application/json" \\
  -d '{request}'
"""
_R = """library(httr)

answer <- POST("{url}",
               add_headers(Authorization = "Bearer {key}"),
               content_type_json(), body = '{request}')
print(content(answer, as = "text", encoding = "UTF-8"))
"""
_CSHARP = """using System;
using System.Net.Http;
using System.Net.Http.Headers;
using System.Text;

using var client = new HttpClient();
client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", "KEY");
var request = @"REQUEST";
var content = new StringContent(request, Encoding.UTF8, "application/json");
var answer = await client.PostAsync("URL", content);
Console.WriteLine($"{(int)answer.StatusCode} {await answer.Content.ReadAsStringAsync()}");
"""
