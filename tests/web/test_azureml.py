"""The addresses of Azure ML Studio's web services: cases W01 to W15 of the module contract, and what is refused."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from dataset_calls import ready
from endpoint_calls import DOUBLE, Published, keep, publish

from tests.running import RunningServer, until

EVALUATOR = """
import pandas as pd
def azureml_main(dataframe1, dataframe2=None):
    return pd.DataFrame({
        "expression": dataframe1["expression"],
        "result": [str(eval(text)) for text in dataframe1["expression"]],
    })
"""
EXPRESSIONS = ("t.csv", 'expression\n"1+2"\n')
TYPED = """
def azureml_main(dataframe1):
    dataframe1["kind"] = [str(kind) for kind in dataframe1.dtypes[["n", "x", "s"]]][: len(dataframe1)]
    return dataframe1
"""
TYPED_SAMPLE = ("t.csv", "n,x,s\n1,0.5,a\n2,1.5,b\n3,2.5,c\n")
TABLE = {"ColumnNames": ["n", "x"], "Values": [["1", "0.5"], ["2", None]]}


def failed(answer: requests.Response, status: int, code: str, detail: str, *words: str) -> str:
    """Assert that this is an error in Azure's form; its message."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    error = answer.json()["error"]
    assert (error["code"], error["details"][0]["code"]) == (code, detail), error
    message: str = error["details"][0]["message"]
    for word in words:
        assert word in message + error["details"][0]["target"], error
    return message


@pytest.fixture
def evaluator(make_tenant) -> Published:
    tenant = make_tenant()
    keep(tenant, "evaluator", EVALUATOR, sample=EXPRESSIONS)
    return publish(tenant, "evaluator")


@pytest.fixture
def double(make_tenant) -> Published:
    tenant = make_tenant()
    keep(tenant, "double", profile="classic", parameters=None)
    return publish(tenant, "double")


def expressions(*texts: str) -> dict[str, Any]:
    return {"input1": {"ColumnNames": ["expression"], "Values": [[text] for text in texts]}}


def test_w01_one_expression_in_and_its_result_out(evaluator):
    """Every value of the answer is a text."""
    answer = evaluator.execute(expressions("1+2", "2**10"), "&details=true")

    assert answer.status_code == 200, answer.text
    value = answer.json()["Results"]["output1"]["value"]
    assert value["ColumnNames"] == ["expression", "result"]
    assert value["Values"] == [["1+2", "3"], ["2**10", "1024"]]
    assert answer.headers["Airlock-Run-Id"].startswith("run_")


def test_w02_a_script_that_raises_is_a_module_execution_error(evaluator):
    """With Error 0085 and the traceback in its detail."""
    answer = evaluator.execute(expressions("1/0"))

    message = failed(answer, 400, "ModuleExecutionError", "0085", "Error 0085", "division by zero", "Traceback")
    assert "script.py" in message


def test_w04_the_key_and_its_scheme(evaluator):
    """None and a wrong one: 401. The scheme's case does not matter."""
    url = f"{evaluator.server.url}{evaluator.base}/execute?api-version=2.0"
    body = {"Inputs": expressions("1")}

    missing = requests.post(url, json=body, timeout=60)
    wrong = Published(evaluator.server, evaluator.document, evaluator.key[:-2] + "00").execute(expressions("1"))
    lower = requests.post(url, json=body, headers={"Authorization": f"bearer {evaluator.key}"}, timeout=60)

    failed(missing, 401, "Unauthorized", "ScoreRequestUnauthorized")
    failed(wrong, 401, "Unauthorized", "ScoreRequestUnauthorized")
    assert lower.status_code == 200
    elsewhere = evaluator.base[:-4] + "0000"
    failed(
        evaluator.request("POST", f"{elsewhere}/execute", json=body), 401, "Unauthorized", "ScoreRequestUnauthorized"
    )
    other = evaluator.base.replace("/workspaces/", "/subscriptions/")
    assert evaluator.request("POST", f"{other}/execute?api-version=2.0", json=body).status_code == 200
    failed(
        evaluator.request("POST", f"{evaluator.base}/execute?api-version=3.0", json=body),
        400,
        "BadArgument",
        "UnsupportedApiVersion",
    )


def test_w05_with_and_without_details_and_as_objects(double):
    """Names, types and values; the values alone; a list of objects, in and out."""
    whole = double.execute({"input1": TABLE}, "&details=true").json()["Results"]["output1"]
    bare = double.execute({"input1": TABLE}).json()["Results"]["output1"]
    objects = double.execute({"input1": [{"n": "1", "x": "0.5"}, {"n": "2"}]}, "&format=swagger").json()

    assert whole["type"] == bare["type"] == "table"
    assert whole["value"] == {
        "ColumnNames": ["n", "x"],
        "ColumnTypes": ["Int64", "Double"],
        "Values": [["2", "1"], ["4", None]],
    }
    assert bare["value"] == {"Values": whole["value"]["Values"]}
    assert objects == {"Results": {"output1": [{"n": "2", "x": "1"}, {"n": "4", "x": None}]}}


def test_values_are_read_with_the_types_of_the_sample(make_tenant):
    """Texts and numbers alike: a text column of digits stays text, and a whole number in a float column is a float."""
    tenant = make_tenant()
    keep(tenant, "typed", TYPED, sample=TYPED_SAMPLE)
    endpoint = publish(tenant, "typed")
    rows = [["1", 1, "007"], [2, "2", "x"], ["3", 3.5, None]]

    answer = endpoint.execute({"input1": {"ColumnNames": ["n", "x", "s"], "Values": rows}}, "&details=true")

    value = answer.json()["Results"]["output1"]["value"]
    assert value["ColumnTypes"][:3] == ["Int64", "Double", "String"]
    assert [row[:3] for row in value["Values"]] == [["1", "1", "007"], ["2", "2", "x"], ["3", "3.5", None]]


def test_w07_global_parameters(make_tenant):
    """One that is missing, one that is unknown; a text becomes what the script declares."""
    tenant = make_tenant()
    declared = {"sleep": {"type": "number", "default": 0}, "fail": {"type": "boolean"}}
    keep(tenant, "double", sample=None, parameters=declared)
    endpoint = publish(tenant, "double")
    ask = lambda **sent: endpoint.execute({"input1": TABLE}, body={"GlobalParameters": sent})  # noqa: E731

    assert ask(fail="False", sleep="0.1").status_code == 200
    failed(ask(), 400, "BadArgument", "MissingRequiredGlobalParameters", "fail")
    failed(ask(fail=False, other=1), 400, "BadArgument", "UnexpectedParameter", "other")
    failed(ask(fail="perhaps"), 400, "BadArgument", "InputParseError", "fail", "boolean")
    for no_number in ("nan", "-inf", "1e999"):  # none in JSON either
        failed(ask(fail=False, sleep=no_number), 400, "BadArgument", "InputParseError", "sleep", "number", no_number)
    failed(ask(fail="true"), 400, "ModuleExecutionError", "0085", "as asked")


def reference(location: str) -> dict[str, str]:
    return {"ConnectionString": "", "BaseLocation": "", "SasBlobToken": "", "RelativeLocation": location}


def job(endpoint: Published, body: dict[str, Any]) -> str:
    answer = endpoint.request("POST", f"{endpoint.base}/jobs?api-version=2.0", json=body)
    assert answer.status_code == 200, answer.text
    assert re.fullmatch("[0-9a-f]{32}", answer.json())
    return str(answer.json())


def on_job(endpoint: Published, id: str, method: str = "GET", more: str = "") -> requests.Response:
    return endpoint.request(method, f"{endpoint.base}/jobs/{id}{more}?api-version=2.0")


def ended(endpoint: Published, id: str) -> Any:
    assert until(lambda: on_job(endpoint, id).json()["StatusCode"] not in ("NotStarted", "Running"), 120)
    return on_job(endpoint, id).json()


def test_w08_a_job_from_its_submission_to_its_result(double):
    """Submitted, started, polled; the three parts of its result's reference are an address that anybody can fetch."""
    ready(double.server, "numbers", b"n,x\n1,0.5\n2,\n")

    id = job(
        double,
        {
            "Inputs": {"input1": reference("mycontainer/numbers.csv")},
            "Outputs": {"output1": reference("mycontainer/out.csv")},
            "GlobalParameters": {},
        },
    )

    before = on_job(double, id).json()
    assert (before["StatusCode"], before["Results"], before["Details"]) == ("NotStarted", None, None)
    assert on_job(double, id, "POST", "/start").status_code == 204
    failed(on_job(double, id, "POST", "/start"), 400, "InvalidOperation", "CannotStartJob")
    found = ended(double, id)
    assert found["StatusCode"] == "Finished", found
    place = found["Results"]["output1"]
    address = place["BaseLocation"] + place["RelativeLocation"] + place["SasBlobToken"]
    fetched = requests.get(address, timeout=60)
    assert (fetched.status_code, fetched.text) == (200, '"n","x"\n2,1.0\n4,\n')
    failed(on_job(double, id, "POST", "/start"), 400, "InvalidOperation", "CannotStartJob", "Finished")
    for wrong in (address[:-1] + "x", address.replace("output1", "output2"), address.partition("?")[0]):
        assert requests.get(wrong, timeout=60).status_code == 401


def test_w08_two_starts_at_once_begin_one_run(double):
    """The other is told that it cannot be started."""
    ready(double.server, "numbers", b"n,x\n1,0.5\n")
    id = job(double, {"Input": reference("numbers@1"), "Outputs": {"output1": reference("o.tsv")}})

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: on_job(double, id, "POST", "/start").status_code, range(4)))

    assert sorted(answers) == [204, 400, 400, 400]
    assert ended(double, id)["StatusCode"] == "Finished"
    assert len([run for run in double.server.get("/v1/runs").json()["items"] if run["priority"] == "batch"]) == 1


def test_w10_a_job_whose_script_raises(double):
    """Failed, and its details hold Error 0085."""
    ready(double.server, "numbers", b"n,x\n1,0.5\n")
    body = {"Input": reference("numbers"), "GlobalParameters": {"fail": True}}

    id = job(double, body)
    on_job(double, id, "POST", "/start")

    found = ended(double, id)
    assert (found["StatusCode"], found["Results"]) == ("Failed", None)
    assert "Error 0085: as asked" in found["Details"]


def test_w11_a_job_that_is_none(double):
    """Both Input and Inputs; an output of an unknown kind; a dataset that is not there; another endpoint's job."""
    ready(double.server, "numbers", b"n,x\n1,0.5\n")
    ask = lambda body: double.request("POST", f"{double.base}/jobs", json=body)  # noqa: E731
    ref = reference("numbers")

    failed(ask({"Input": ref, "Inputs": {"input1": ref}}), 400, "BadArgument", "DuplicateInputInBatchCall")
    xyz = {"Input": ref, "Outputs": {"output1": reference("out.xyz")}}
    failed(ask(xyz), 400, "BadArgument", "InvalidBlobExtension", ".csv")
    failed(ask({"Input": reference("nothing.csv")}), 400, "BadArgument", "InputParseError", "nothing")
    failed(ask({"Input": {}}), 400, "BadArgument", "InputParseError", "RelativeLocation")
    failed(ask({"Inputs": {"other": ref}}), 400, "BadArgument", "InputMismatchError", "input1, input2")
    failed(ask({"Input": ref, "Outputs": {"o": ref}}), 400, "BadArgument", "InputMismatchError", "output1, output2")
    failed(ask({"Other": 1}), 400, "BadArgument", "InputParseError", "Other")
    large = {"Input": ref, "GlobalParameters": {"x": "y" * 262_144}}
    failed(ask(large), 413, "BadArgument", "RequestTooLarge", "GlobalParameters", "262144")
    failed(on_job(double, "0" * 32), 404, "NotFound", "JobNotFound")
    other = publish(double.server, "other", "double")
    id = job(double, {"Input": ref})
    failed(on_job(other, id), 404, "NotFound", "JobNotFound")


def test_jobs_that_nobody_starts_are_bounded(small: RunningServer) -> None:
    """Of an endpoint, two on this server: a third is refused until one is cancelled; another endpoint has its own."""
    keep(small, "unstarted", sample=None)
    endpoint, other = publish(small, "unstarted"), publish(small, "unstarted-too", "unstarted")
    ids = [job(endpoint, {}) for _ in range(2)]

    refusal = endpoint.request("POST", f"{endpoint.base}/jobs", json={})

    failed(refusal, 503, "TooManyConcurrentRequests", "TooManyConcurrentRequests", "2 jobs", "start or cancel")
    assert refusal.headers["Retry-After"] == "5"
    job(other, {})
    assert on_job(endpoint, ids[0], "DELETE").status_code == 204
    assert on_job(endpoint, ids[0]).json()["StatusCode"] == "Cancelled"
    job(endpoint, {})


def test_a_suspended_tenants_results_have_no_address(server: RunningServer, double):
    """Until it is let in again: the address that was given before is good for a day."""
    ready(double.server, "numbers", b"n,x\n1,0.5\n")
    id = job(double, {"Input": reference("numbers")})
    on_job(double, id, "POST", "/start")
    place = ended(double, id)["Results"]["output1"]
    address = place["BaseLocation"] + place["RelativeLocation"] + place["SasBlobToken"]
    tenant = f"/v1/admin/tenants/ten_{double.base.split('/')[2]}"

    assert server.post(f"{tenant}/suspend").status_code == 200
    refused = requests.get(address, timeout=60)
    assert server.post(f"{tenant}/resume").status_code == 200

    failed(refused, 403, "Forbidden", "Forbidden", "suspended")
    assert requests.get(address, timeout=60).text == '"n","x"\n2,1.0\n'


def test_an_endpoint_that_is_switched_off_takes_and_starts_no_job(double):
    """What was accepted before can still be looked at, cancelled, and started when it is on again."""
    ready(double.server, "numbers", b"n,x\n1,0.5\n")
    body = {"Input": reference("numbers")}
    first, second = job(double, body), job(double, body)
    switch = lambda on: double.server.request(  # noqa: E731
        "PUT", "/v1/endpoints/double", json={"script": "double", "enabled": on}
    )

    assert switch(False).status_code == 200
    taken = double.request("POST", f"{double.base}/jobs", data=b"this is not read")
    started = on_job(double, first, "POST", "/start")

    failed(taken, 503, "NoMoreResources", "ServiceUnavailable", "switched off")
    failed(started, 503, "NoMoreResources", "ServiceUnavailable", "switched off")
    assert on_job(double, first).json()["StatusCode"] == "NotStarted"
    assert on_job(double, second, "DELETE").status_code == 204
    assert switch(True).status_code == 200
    assert on_job(double, first, "POST", "/start").status_code == 204
    assert ended(double, first)["StatusCode"] == "Finished"


def test_a_job_is_cancelled_wherever_it_stands(double):
    """Before it is started, and while it runs."""
    ready(double.server, "numbers", b"n,x\n1,0.5\n")
    body = {"Input": reference("numbers"), "GlobalParameters": {"sleep": 50}}
    first, second = job(double, body), job(double, body)

    assert on_job(double, first, "DELETE").status_code == 204
    assert on_job(double, second, "POST", "/start").status_code == 204
    assert until(lambda: on_job(double, second).json()["StartTime"] is not None, 60)
    assert on_job(double, second, "DELETE").status_code == 204

    assert ended(double, first)["StatusCode"] == "Cancelled"
    failed(on_job(double, first, "POST", "/start"), 400, "InvalidOperation", "CannotStartJob", "Cancelled")
    assert ended(double, second)["StatusCode"] == "Cancelled"


def test_w12_of_21_slow_calls_20_are_served(make_tenant):
    """The other is throttled, and told the maximum."""
    tenant = make_tenant()
    keep(tenant, "double", sample=None)
    endpoint = publish(tenant, "double")
    ask = lambda _: endpoint.execute({"input1": TABLE}, body={"GlobalParameters": {"sleep": 2}}, timeout=280)  # noqa: E731

    with ThreadPoolExecutor(21) as pool:
        answers = list(pool.map(ask, range(21)))

    assert sorted(answer.status_code for answer in answers) == [200] * 20 + [503]
    throttled = next(answer for answer in answers if answer.status_code == 503)
    failed(throttled, 503, "RequestThrottled", "RequestThrottled", "double", "20")


def test_w13_41_jobs_all_finish(double):
    """As many at once as the host has workers; the others wait their turn."""
    ready(double.server, "numbers", b"n,x\n1,0.5\n")
    ids = [job(double, {"Input": reference("numbers")}) for _ in range(41)]

    for id in ids:
        assert on_job(double, id, "POST", "/start").status_code == 204

    assert {ended(double, id)["StatusCode"] for id in ids} == {"Finished"}


def test_w15_the_swagger_document(double):
    """Swagger 2.0, with the operations of execute and of jobs, and the columns of the sample."""
    document = double.request("GET", f"{double.base}/swagger.json").json()

    assert document["swagger"] == "2.0"
    operations = {one["operationId"] for path in document["paths"].values() for one in path.values()}
    assert operations == {"execute", "batch", "start", "getStatus", "cancel"}
    rows = document["definitions"]["ExecutionRequest"]["properties"]["Inputs"]["properties"]["input1"]
    assert rows["items"]["properties"] == {"n": {"type": "integer"}, "x": {"type": "number"}}
    references = re.findall(r'"#/definitions/(\w+)"', json.dumps(document))
    assert set(references) <= set(document["definitions"])
    url = f"{document['schemes'][0]}://{document['host']}{document['basePath']}"
    assert url == f"{double.server.url}{double.base}"


def test_the_samples_of_the_help_page_work(evaluator):
    """Python and curl, as they stand there, with a key filled in."""
    page = evaluator.request("GET", f"{evaluator.base}/score")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "script" not in page.headers["Content-Security-Policy"]
    samples = {
        name: html.unescape(code).replace("YOUR_KEY", evaluator.key)
        for name, code in re.findall(r'<pre class="([^"]+)">(.*?)</pre>', page.text, re.DOTALL)
    }
    assert set(samples) == {"python", "curl", "r", "c#"}
    one = lambda text: text.replace('"text"', '"1+2"').replace("'text'", "'1+2'")  # noqa: E731

    python = subprocess.run([sys.executable, "-c", one(samples["python"])], capture_output=True, text=True, check=True)
    curl = subprocess.run(["sh", "-c", one(samples["curl"])], capture_output=True, text=True, check=True)

    for printed in (python.stdout, curl.stdout):
        assert json.loads(printed)["Results"]["output1"]["value"]["Values"] == [["1+2", "3"]]


@pytest.mark.parametrize(
    ("inputs", "code", "words"),
    [
        ({"input1": {"ColumnNames": ["n"], "Values": [["1"]]}}, "InputMismatchError", ["x"]),
        ({"input1": {"ColumnNames": ["n", "x"], "Values": [["1"]]}}, "InputParseError", ["row 0"]),
        ({"input1": {"ColumnNames": ["n", "x"], "Values": [["one", "2"]]}}, "InputParseError", ["'n'", "one"]),
        ({"input1": {"ColumnNames": ["n", "x"], "Values": "x"}}, "InputParseError", ["Values"]),
        ({"input1": {"ColumnNames": "n", "Values": []}}, "InputParseError", ["ColumnNames"]),
        ({"input1": {"Values": []}}, "InputParseError", ["ColumnNames"]),
        ({"input1": [1]}, "InputParseError", ["object"]),
        ({"input1": [{f"c{n}": n} for n in range(5000)]}, "InputParseError", ["24995000 cells", "1000000"]),
        ({"input3": TABLE}, "InputMismatchError", ["input3", "input1, input2"]),
        ({}, "InputMismatchError", ["input1", "missing"]),
        ([], "InputParseError", ["Inputs"]),
    ],
)
def test_inputs_that_do_not_fit(azure_double, inputs, code, words):
    """Are refused in Azure's words, saying where."""
    failed(azure_double.execute(inputs), 400, "BadArgument", code, *words)


@pytest.fixture(scope="module")
def azure_double(server: RunningServer) -> Published:
    keep(server, "azure-double", DOUBLE)
    return publish(server, "azure-double")


def test_a_null_among_integers_is_a_missing_value(azure_double):
    """As pandas has it: the column arrives as floats."""
    rows = {"ColumnNames": ["n", "x"], "Values": [["1", "1"], [None, "2"]]}

    answer = azure_double.execute({"input1": rows}, "&details=true").json()

    value = answer["Results"]["output1"]["value"]
    assert value["ColumnTypes"] == ["Double", "Double"]
    assert value["Values"] == [["2", "2"], [None, "4"]]


@pytest.mark.parametrize(
    ("more", "status", "detail"),
    [
        ({"data": b"{", "headers": {"Content-Type": "application/json"}}, 400, "InputParseError"),
        ({"data": b"[]", "headers": {"Content-Type": "application/json"}}, 400, "InputParseError"),
        ({"data": b"{}", "headers": {"Content-Type": "application/json; charset=utf-16"}}, 400, "InputParseError"),
        ({"data": b"{}", "headers": {"Content-Type": "text/plain"}}, 400, "InputParseError"),
        ({"json": {"Inputs": {}, "More": 1}}, 400, "InputParseError"),
        ({"json": {"Inputs": {"input1": TABLE}, "GlobalParameters": []}}, 400, "InputParseError"),
        ({"json": {"Inputs": {"input1": TABLE}, "GlobalParameters": {"x": "y" * 262_144}}}, 413, "RequestTooLarge"),
        ({"data": b" " * (3 << 20), "headers": {"Content-Type": "application/json"}}, 413, "RequestTooLarge"),
    ],
)
def test_a_body_that_is_none(azure_double, more, status, detail):
    """Is refused, and no place is held afterwards."""
    answer = azure_double.request("POST", f"{azure_double.base}/execute", **more)

    failed(answer, status, "BadArgument", detail)
    assert azure_double.server.get("/v1/endpoints/azure-double/usage").json()["at_work"] == 0


def test_objects_whose_names_are_larger_than_their_table(make_tenant):
    """Are not made of it: 2,000 rows would say a name of 20,000 letters as often."""
    tenant = make_tenant()
    script = "import pandas\ndef azureml_main(a):\n    return pandas.DataFrame({'n' * 20_000: [1] * 2_000})\n"
    keep(tenant, "names", script, sample=None)
    endpoint = publish(tenant, "names")

    plain, objects = endpoint.execute({"input1": TABLE}), endpoint.execute({"input1": TABLE}, "&format=swagger")

    assert len(plain.json()["Results"]["output1"]["value"]["Values"]) == 2_000
    assert len(objects.content) < 10_000
    failed(objects, 400, "LibraryExecutionError", "OutputLimit", "16777216")


def test_two_tables_in_and_two_out_by_their_names(make_tenant):
    """Under the names that the endpoint gives its ports; the second comes of the profile designer."""
    tenant = make_tenant()
    script = "def azureml_main(dataframe1, dataframe2):\n    return dataframe2, dataframe1\n"
    keep(tenant, "swap", script, sample=None, profile="designer")
    endpoint = publish(tenant, "swap", inputs=["left", "right"], outputs=["first", "second"])
    left, right = {"ColumnNames": ["a"], "Values": [[1]]}, {"ColumnNames": ["b"], "Values": [["x"]]}

    results = endpoint.execute({"right": right, "left": left}, "&details=true").json()["Results"]

    assert results["first"]["value"]["ColumnNames"] == ["b"]
    assert results["second"]["value"]["Values"] == [["1"]]
