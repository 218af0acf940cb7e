"""Did two runs give the same? Told per table: bytes, values, or the first difference."""

from __future__ import annotations

import pytest

from tests.running import RunningServer

TABLE = "import pandas as pd\ndef azureml_main(): return pd.DataFrame({'a': [1, 2, 3], 's': ['x', None, 'z']})\n"


def run(server: RunningServer, script: str, **options):
    done = server.submit(script, **options)
    assert done["status"] == "succeeded", done
    return done["id"]


def compared(server: RunningServer, left: str, right: str):
    answer = server.get(f"/v1/runs/{left}/comparison", params={"with": right})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_rerun_of_a_steady_script_gives_the_same_bytes(server):
    """The first question of everybody who repeats a run."""
    first = run(server, TABLE)
    again = server.post(f"/v1/runs/{first}/rerun?wait=60").json()["id"]

    found = compared(server, first, again)

    assert found == {
        "left": first,
        "right": again,
        "same": True,
        "tables": [{"port": 1, "verdict": "bytes_equal", "first_difference": None}],
    }


def test_equal_values_in_other_bytes_are_the_same(server):
    """Categories whose levels stand in another order are the same values."""
    script = (
        "import pandas as pd\ndef azureml_main():\n"
        "    return pd.DataFrame({'c': pd.Categorical(['a', 'b'], categories=%s)})\n"
    )
    left, right = run(server, script % "['a', 'b']"), run(server, script % "['b', 'a']")

    found = compared(server, left, right)

    assert (found["same"], found["tables"][0]["verdict"]) == (True, "values_equal")


@pytest.mark.parametrize(
    ("change", "what", "column", "row"),
    [
        ("'a': [1, 2, 3]", "value", "a", 1),
        ("'s': ['x', None, 'z']", "value", "s", 1),
        ("pd.DataFrame(", "columns", "a", None),
        ("[1, 2, 3]", "type", "a", None),
    ],
    ids=["value", "missing", "name", "type"],
)
def test_the_first_difference_is_named(server, change, what, column, row):
    """Column, row, both values, and a sentence."""
    others = {
        "'a': [1, 2, 3]": "'a': [1, 9, 9]",
        "'s': ['x', None, 'z']": "'s': ['x', '', 'z']",
        "pd.DataFrame(": "pd.DataFrame(columns=['b', 's'], data=",
        "[1, 2, 3]": "[1.0, 2.0, 3.0]",
    }
    left, right = run(server, TABLE), run(server, TABLE.replace(change, others[change]))

    found = compared(server, left, right)

    difference = found["tables"][0]["first_difference"]
    assert (found["same"], found["tables"][0]["verdict"]) == (False, "different")
    assert (difference["what"], difference["row"]) == (what, row)
    if what != "columns":
        assert difference["column"] == column
    assert difference["message"]


def test_both_tables_of_the_designer_are_compared(server):
    """Per table: the first equal, the second not."""
    script = "import pandas as pd\ndef azureml_main(*_): return pd.DataFrame({'a': [1]}), pd.DataFrame({'b': [%d]})\n"
    left, right = (run(server, script % n, profile="designer") for n in (1, 2))

    found = compared(server, left, right)

    assert [table["verdict"] for table in found["tables"]] == ["bytes_equal", "different"]


def test_what_cannot_be_compared_is_refused_by_name(server, make_tenant):
    """A failed run, a missing one, another tenant's, other ports, no parameter."""
    good = run(server, TABLE)
    two = run(server, TABLE.replace("azureml_main()", "azureml_main(*_)"), profile="designer")
    failed = server.submit("1/0")["id"]
    foreign = run(make_tenant(), TABLE)

    def refusal(left: str, query: str):
        answer = server.get(f"/v1/runs/{left}/comparison{query}")
        return answer.status_code, answer.json()["code"]

    assert refusal(good, f"?with={failed}") == (409, "no_output")
    assert refusal(failed, f"?with={good}") == (409, "no_output")
    assert refusal(good, f"?with={two}") == (409, "conflict")
    assert refusal(good, "?with=run_none") == (404, "not_found")
    assert refusal(good, f"?with={foreign}") == (404, "not_found")
    assert refusal(good, "") == (422, "invalid_request")
