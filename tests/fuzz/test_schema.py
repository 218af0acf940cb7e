"""Whatever is sent, the server answers as its OpenAPI document says: never a fault of its own, no status that is not
described, no answer of another form. Schemathesis makes the requests, from the document: some fit it, some do not.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.fuzz.effort import BRAKES, REQUESTS, SEED, is_fault, made

if TYPE_CHECKING:
    from tests.running import RunningServer

ROOT = Path(__file__).parents[2]
SCHEMA = schemathesis.openapi.from_dict(json.loads((ROOT / "tests" / "web" / "openapi.json").read_text()))
WITHOUT_INPUT = {
    f"{method.upper()} {path}"
    for path, item in SCHEMA.raw_schema["paths"].items()
    for method, operation in item.items()
    if not operation.get("parameters") and "requestBody" not in operation
}
"""Nothing that is sent to these can fail to fit."""
OPERATIONS = {found.ok().label: found.ok() for found in SCHEMA.get_all_operations()}
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
CODES = set(re.findall(r"^\| `(\w+)` \| (\d{3}) \|", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE))
SHARES = {"fitting": 0.4, "not fitting": 0.4, "without a key": 0.1}
IMPOSSIBLE = {(label, "not fitting") for label in WITHOUT_INPUT}


@pytest.mark.parametrize(
    ("label", "share"),
    [
        (label, share)
        for label in OPERATIONS
        for share in SHARES
        if (label, share) not in IMPOSSIBLE and (label not in BRAKES or share == "without a key")
    ],
)
def test_every_answer_is_one_that_is_described(
    target: RunningServer, there: dict[str, list[str]], label: str, share: str
) -> None:
    """Requests that fit the document, requests that do not, and requests without a key."""
    mode = GenerationMode.NEGATIVE if share == "not fitting" else GenerationMode.POSITIVE
    # Those without input have one request each, and leave theirs to the others.
    count = math.ceil(REQUESTS * SHARES[share] / len(OPERATIONS.keys() - WITHOUT_INPUT))
    headers = {} if share == "without a key" else {"Authorization": f"Bearer {target.key}"}
    destroys = label.startswith("DELETE")

    @seed(SEED)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=OPERATIONS[label].as_strategy(mode), real=st.booleans(), which=st.integers(0, 99))
    def ask(case: Case, real: bool, which: int) -> None:
        for name, found in there.items():
            if real and not destroys and name in (case.path_parameters or {}):
                case.path_parameters[name] = found[which % len(found)]
        made.count += 1
        check(case, case.call(base_url=target.url, headers=headers, timeout=60))

    ask()


def check(case: Case, answer: Any) -> None:
    assert not is_fault(answer.status_code, answer.content), answer.content
    case.validate_response(answer, checks=CHECKS)
    assert answer.headers["x-request-id"][0].startswith("req_")
    if answer.status_code >= 400 and case.path != "/readyz":
        problem = answer.json()
        assert (problem["code"], str(problem["status"])) in CODES, problem
        assert problem["status"] == answer.status_code
