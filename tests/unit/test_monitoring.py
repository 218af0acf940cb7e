"""The dashboard, the alerts and the runbook speak of metrics that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from controller.metrics import MEASURED, Metrics

DOCS = Path(__file__).parents[2] / "docs"
OPERATIONS = (DOCS / "operations.md").read_text()
DASHBOARD = json.loads((DOCS / "grafana-dashboard.json").read_text())
ALERTS = yaml.safe_load((DOCS / "prometheus-alerts.yml").read_text())["groups"][0]["rules"]
TABLE = re.findall(r"^\| `([a-z_]+)` \| (counter|gauge|histogram) \|([^|]*)\|", OPERATIONS, re.MULTILINE)
OF_PROMETHEUS = {"up"}
LABELS_OF_PROMETHEUS = {"job", "instance", "le"}
SUFFIXES = {"histogram": ("_bucket", "_count", "_sum"), "counter": ("",), "gauge": ("",)}


def in_code() -> dict[str, str]:
    """Every metric that the code has, and its type."""
    kinds = {family.name: family.type for family in Metrics("1").registry.collect()}
    kinds |= {name: kind(name, "").type for name, (kind, _, _) in MEASURED.items()}
    return {name + "_total" * (kind == "counter"): kind for name, kind in kinds.items()}


def expressions() -> list[str]:
    """Of every panel and every alert."""
    panels = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    return [*panels, *(alert["expr"] for alert in ALERTS)]


def test_the_table_is_what_the_code_has():
    """Each metric once, with its type; the labels are compared with a scrape by tests/web/test_metrics.py."""
    assert {name: kind for name, kind, _ in TABLE} == in_code()
    assert len(TABLE) == len(in_code())


def test_every_metric_that_is_asked_for_is_there():
    """As a histogram gives it: by bucket, count or sum."""
    there = {name + suffix for name, kind in in_code().items() for suffix in SUFFIXES[kind]} | OF_PROMETHEUS

    asked = {name for text in expressions() for name in re.findall(r"\b(?:(?:airlock|process)_[a-z_]+|up)\b", text)}

    assert len(asked) > 15
    assert asked - there == set()


def test_every_label_that_is_asked_for_is_one_of_the_metrics():
    """In selectors, in `by`, and in the legends and summaries."""
    labels = {name: set(re.findall(r"`(\w+)`", cell)) | LABELS_OF_PROMETHEUS for name, _, cell in TABLE}
    known = set().union(*labels.values())
    texts = [target["legendFormat"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    shown = {name for text in texts for name in re.findall(r"{{(\w+)}}", text)}
    shown |= {name for alert in ALERTS for name in re.findall(r"\$labels\.(\w+)", alert["annotations"]["summary"])}

    assert shown - known == set()
    for text in expressions():
        named = {re.sub("_(bucket|count|sum)$", "", one) for one in re.findall(r"\b(?:airlock|process)_[a-z_]+", text)}
        allowed = set().union(LABELS_OF_PROMETHEUS, *(labels.get(one, set()) for one in named))
        grouped = {one.strip() for group in re.findall(r"by \(([^)]*)\)", text) for one in group.split(",")}
        selected = set(re.findall(r"(\w+)(?:=~|!=|=)\"", text))
        assert (grouped | selected) - allowed == set(), text


def test_every_panel_and_every_alert_is_whole():
    """Ids and names are unique; braces and parentheses close."""
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    names = [alert["alert"] for alert in ALERTS]

    assert len(set(ids)) == len(ids) > 10
    assert len(set(names)) == len(names) > 8
    assert {alert["labels"]["severity"] for alert in ALERTS} == {"page", "ticket"}
    for text in expressions():
        assert all(text.count(one) == text.count(other) for one, other in ("()", "{}", "[]")), text


def test_every_alert_is_in_the_runbook():
    """Under its own name, with something to do; and none that there is not."""
    headings = dict(re.findall(r"^### (Airlock\w+)\n\n(.+)$", OPERATIONS, re.MULTILINE))

    assert set(headings) == {alert["alert"] for alert in ALERTS}
