"""What is written about the API is what the API does: OpenAPI, the pages, docs/api.md and docs/errors.md."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from controller import errors
from controller.errors import AirlockError
from controller.model import Reason
from controller.signing import read_public_key, verified
from controller.web.errors import HTTP_CODES, status_of

if TYPE_CHECKING:
    from tests.running import RunningServer

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).with_name("openapi.json")
API, ERRORS = (ROOT / "docs" / "api.md").read_text(), (ROOT / "docs" / "errors.md").read_text()
ADMIN = (ROOT / "docs" / "admin.md").read_text()
FOR_EVERYBODY = ["/v1/receipt-key"]
NAMING = [("post", "/v1/runs"), ("post", "/v1/batches")]
"""Whose bodies name things that may not be there."""
UNLISTED = [("get", "/openapi.json"), ("get", "/docs"), ("get", "/metrics")]
ABSTRACT = {errors.Refused, errors.Unavailable}


@pytest.fixture(scope="module")
def document(server: RunningServer) -> Any:
    """The OpenAPI document that the server gives."""
    return requests.get(f"{server.url}/openapi.json", timeout=30).json()


def operations(document: Any) -> Iterator[tuple[str, str, Any]]:
    """(method, path, operation) for each."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def inside(value: Any) -> Iterator[Any]:
    """Every object in a document, at any depth."""
    if isinstance(value, dict):
        yield value
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from inside(child)


def test_the_document_is_openapi_3(document: Any) -> None:
    """The members that the standard demands are there, and every reference leads to something."""
    missing = []
    for reference in (found["$ref"] for found in inside(document) if "$ref" in found):
        place: Any = document
        for step in reference.removeprefix("#/").split("/"):
            place = place.get(step, {})
        if not place:
            missing.append(reference)

    assert re.fullmatch(r"3\.\d+\.\d+", document["openapi"])
    assert document["info"]["title"] == "Airlock"
    assert document["info"]["version"]
    assert missing == []
    assert not [found for found in inside(document) if "$defs" in found]


def test_every_operation_is_whole(document: Any) -> None:
    """A name of its own, a summary, its path's parameters, described answers, and the key that it needs, if it does."""
    found = list(operations(document))

    names = [operation["operationId"] for _, _, operation in found]
    assert len(set(names)) == len(names) == 82
    for method, path, operation in found:
        described = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path" and p["required"]}
        assert described == set(re.findall(r"{(\w+)}", path)), path
        assert operation["summary"], (method, path)
        assert all(answer["description"] for answer in operation["responses"].values())
        if path in FOR_EVERYBODY:
            assert "security" not in operation
            assert not {"401", "403"} & set(operation["responses"])
        elif path.startswith("/v1/"):
            assert operation["security"] == [{"api_key": []}]
            assert {"401", "403", "422", "503"} <= set(operation["responses"])
            names_something = "{" in path or (method, path) in NAMING
            makes_it = (method, path) == ("put", "/v1/scripts/{name}")  # whatever was there
            assert ("404" in operation["responses"]) == (names_something and not makes_it)


def test_every_refusal_in_it_is_a_problem_document(document: Any) -> None:
    """And nothing else is promised with these statuses."""
    refusals = [
        answer
        for _, path, operation in operations(document)
        for status, answer in operation["responses"].items()
        if status >= "400" and path != "/readyz"
    ]

    assert refusals
    for answer in refusals:
        schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
        assert answer["content"] == {"application/problem+json": schema}


def test_the_run_is_described_as_it_is_answered(document: Any, table_run: Any, failed_run: Any) -> None:
    """The schema has just the fields of the answer, down to the inner ones."""
    schemas = document["components"]["schemas"]

    def fields(name: str) -> set[str]:
        return set(schemas[name]["properties"])

    assert fields("RunDocument") == set(table_run)
    assert fields("Output") == set(table_run["output"])
    assert fields("Limits") == set(table_run["limits"])
    assert fields("Usage") == set(table_run["usage"])
    assert fields("Timings") == set(table_run["timings"])
    assert fields("ScriptError") == set(failed_run["error"])


def test_the_receipt_is_described_as_it_is_answered(document: Any, server: RunningServer, table_run: Any) -> None:
    """Field by field, and so the public key."""
    schemas = document["components"]["schemas"]
    receipt = server.get(f"/v1/runs/{table_run['id']}/receipt").json()
    key = requests.get(f"{server.url}/v1/receipt-key", headers={"Accept": "application/json"}, timeout=30).json()

    described = {name: set(schema.get("properties", ())) for name, schema in schemas.items()}
    answers = document["paths"]["/v1/receipt-key"]["get"]["responses"]["200"]["content"]

    assert described["SignedReceipt"] == set(receipt)
    assert described["ReceiptEngine"] == set(receipt["engine"])
    assert described["ReceiptOutputs"] == set(receipt["outputs"])
    assert described["ReceiptTable"] == set(receipt["outputs"]["tables"][0])
    assert described["ReceiptImage"] == set(receipt["outputs"]["images"][0])
    assert described["ReceiptSignature"] == set(receipt["signature"])
    assert set(answers["application/json"]["schema"]["properties"]) == set(key)


def test_the_document_changes_only_on_purpose(document: Any) -> None:
    """A change of the API shows in the golden file beside this test; AIRLOCK_UPDATE_GOLDEN=1 writes it anew."""
    document["info"]["version"] = "any"
    text = json.dumps(document, indent=1, sort_keys=True) + "\n"

    if os.environ.get("AIRLOCK_UPDATE_GOLDEN"):
        GOLDEN.write_text(text)

    assert text == GOLDEN.read_text(), "the API changed; if that is meant: AIRLOCK_UPDATE_GOLDEN=1 pytest tests/web"


def test_every_route_is_on_the_page(document: Any) -> None:
    """docs/api.md, or docs/admin.md, lists each with its method, and none that there is not."""
    listed = set(re.findall(r"^\| `([A-Z]+) (/\S*)` \|", API + ADMIN, re.MULTILINE))

    there = {(method.upper(), path) for method, path, _ in operations(document)}
    assert listed == there | {(method.upper(), path) for method, path in UNLISTED}


def test_every_option_and_field_is_on_the_page(document: Any) -> None:
    """Of the options and of the run."""
    schemas = document["components"]["schemas"]
    first_cells = " ".join(re.findall(r"^\|([^|]*)\|", API, re.MULTILINE))

    wanted = set(schemas["Options"]["properties"]) | set(schemas["RunDocument"]["properties"])

    assert sorted(name for name in wanted if f"`{name}`" not in first_cells) == []


def tree(kind: type[AirlockError]) -> Iterator[type[AirlockError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from tree(child)


def codes_given_by_hand() -> Iterator[tuple[str, str]]:
    """(class or rule, code) wherever the controller's code gives an error a code other than its class's."""
    for file in (ROOT / "controller").rglob("*.py"):
        for call in (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)):
            for keyword in call.keywords:
                if keyword.arg == "code" and isinstance(keyword.value, ast.Constant) and keyword.value.value:
                    yield getattr(call.func, "id", ""), str(keyword.value.value)


def test_every_code_is_explained() -> None:
    """docs/errors.md has each code with the status that it comes with, and no other."""
    kinds = [kind for kind in tree(AirlockError) if kind not in ABSTRACT]
    wanted = {(kind.code, status_of(kind(""))) for kind in kinds}
    wanted |= {(code, status) for status, code in HTTP_CODES.items()}
    by_name = {kind.__name__: kind for kind in kinds} | {"Rule": errors.TooLarge}
    wanted |= {(code, status_of(by_name[kind](""))) for kind, code in codes_given_by_hand() if not code.isdigit()}

    rows = re.findall(r"^\| `(\w+)` \| (\d{3}) \| (\S.*?) \| (\S.*?) \|$", ERRORS, re.MULTILINE)

    assert {(code, int(status)) for code, status, _, _ in rows} == wanted
    assert len(rows) == len(wanted)


def test_every_reason_and_every_code_of_a_script_is_explained() -> None:
    """Those that the controller judges by, and those that the runner reports."""
    sources = ["controller/services/report.py", "sandbox_image/runner/failure.py"]
    used = {code for source in sources for code in re.findall(r'"(\d{4})"', (ROOT / source).read_text())}

    reasons = set(re.findall(r"^\| `([a-z_]+)` \| (?!\d)[^|]+\| [^|]+\|$", ERRORS, re.MULTILINE))
    codes = set(re.findall(r"^\| `(\d{4})` \|", ERRORS, re.MULTILINE))

    assert reasons == set(Reason)
    assert codes == used


def test_the_docs_page_works_without_the_internet(server: RunningServer) -> None:
    """It loads nothing but what the server gives, and its policy would not let it."""
    page = requests.get(f"{server.url}/docs", timeout=30)
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)

    assets = {address: requests.get(f"{server.url}/{address}", timeout=30) for address in loaded}

    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "//" not in page.text
    assert loaded == ["docs/css/swagger-ui.css", "docs/js/swagger-ui-bundle.js", "docs/start.js"]
    kinds = [asset.headers["Content-Type"].partition(";")[0] for asset in assets.values()]
    assert [asset.status_code for asset in assets.values()] == [200] * 3
    assert kinds == ["text/css", "text/javascript", "text/javascript"]
    assert "openapi.json" in assets["docs/start.js"].text
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "http" not in policy


def test_the_examples_of_the_page_do_what_they_show(server: RunningServer, tmp_path: Path) -> None:
    """Every shell block of docs/api.md, one after the other."""
    script = "\n".join(re.findall(r"```sh\n(.*?)```", API, re.DOTALL))
    environment = {**os.environ, "AIRLOCK_URL": server.url, "AIRLOCK_KEY": server.key}

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr

    def read(name: str) -> Any:
        return json.loads((tmp_path / name).read_text())

    assert read("run.json")["limits"]["timeout_seconds"] == 30
    assert (tmp_path / "result.csv").read_text() == '"k","n","s"\n1,10,"one"\n2,20,\n'
    assert read("result.json") == [{"k": 1, "n": 10, "s": "one"}, {"k": 2, "n": 20, "s": None}]
    assert (tmp_path / "partial.arrow").read_bytes() == (tmp_path / "result.arrow").read_bytes()
    assert read("described.json")["status"] == "succeeded"
    assert read("run.json")["id"] in [run["id"] for run in read("page.json")["items"]]
    assert (tmp_path / "log.txt").read_text() == "rows: 2\n"
    assert "event: status" in (tmp_path / "events.txt").read_text()
    assert read("images.json")["items"][0]["name"] == "k and n.png"
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert read("receipt.json")["signature"]["key_id"] == read("airlock-key.json")["key_id"]
    assert verified((tmp_path / "receipt.json").read_bytes(), read_public_key((tmp_path / "airlock.pem").read_bytes()))
    assert read("cancelled.json")["status"] == "cancelled"
