"""docs/contract-cases.md and this suite are the same list."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / "docs" / "contract-cases.md").read_text()
SOURCES = "".join(path.read_text() for path in sorted(HERE.glob("test_*_cases.py")))
OWN = "own test"


def gaps(page: str, sources: str) -> set[str]:
    """What the list promises and the tests do not show, and the other way round: cases, and rules as `rule 1.8`."""
    cases = re.findall(r"^\| ([A-Z]\d\d) \|", page, re.MULTILINE)
    rules = re.findall(r"^\| (\d\.\d+) \|.*\| ([^|]+) \|$", page, re.MULTILINE)
    tested_cases = {name.upper() for name in re.findall(r"^def test_([a-z]\d\d)_", sources, re.MULTILINE)}
    found = re.findall(r"^def test_rule_(\d)_(\d+)_", sources, re.MULTILINE)
    tested_rules = {f"{section}.{number}" for section, number in found}
    shown = {rule: set(shown_by.split(", ")) for rule, shown_by in rules}
    promised = {rule for rule, shown_by in shown.items() if OWN in shown_by}
    return {
        *(set(cases) ^ tested_cases),
        *(f"rule {rule}" for rule in promised ^ tested_rules),
        *(f"{case} for rule {rule}" for rule, by in shown.items() for case in by - {OWN} - set(cases)),
        *(f"{case} twice" for case in cases if cases.count(case) > 1),
    }


def test_each_line_has_a_test_and_each_test_a_line() -> None:
    """No case and no rule of the page is without its test, and none is tested that the page does not list."""

    assert gaps(PAGE, SOURCES) == set()
    assert len(re.findall(r"^\| [A-Z]\d\d \|", PAGE, re.MULTILINE)) == 78


def test_a_line_without_a_test_is_found() -> None:
    """The comparison finds what is missing on either side."""
    page = PAGE + "| P99 | a new case | something |\n| 9.1 | a new rule | own test |\n| 9.2 | another | Q01 |\n"
    sources = SOURCES + "\ndef test_z01_more(server): ...\n\ndef test_rule_8_1_more(server): ...\n"

    assert gaps(page, SOURCES) == {"P99", "rule 9.1", "Q01 for rule 9.2"}
    assert gaps(PAGE, sources) == {"Z01", "rule 8.1"}


def test_no_test_of_the_suite_is_set_aside() -> None:
    """None is skipped, and none is expected to fail."""

    assert re.findall(r"mark\.(?:skip\w*|xfail)|pytest\.(?:skip|xfail|importorskip)", SOURCES) == []
