"""The dashboard and the alert rules in share/: whole, and about metrics that there are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
DASHBOARD = ROOT / "share/multiprobe/grafana/multiprobe.json"
RULES = ROOT / "share/multiprobe/prometheus/multiprobe.rules.yml"
COUNTERS = ("calls", "other_calls", "failures", "other_failures", "missed")
GAUGES = ("functions", "measured_seconds", "info", "running_calls")
SERVED = {
    *(f"multiprobe_{name}_total" for name in COUNTERS),
    *(f"multiprobe_{name}" for name in GAUGES),
    *(f"multiprobe_call_duration_seconds_{part}" for part in ("bucket", "sum", "count")),
}
NEEDS_PROMTOOL = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is in Debian's prometheus")


def names_in(expression: str) -> set[str]:
    return set(re.findall(r"\bmultiprobe_\w+", re.sub(r'"[^"]*"', "", expression)))


def queries(panels: list[dict[str, Any]]) -> Iterator[str]:
    for panel in panels:
        yield from (target["expr"] for target in panel["targets"])


def test_these_metrics_are_served_and_described() -> None:
    """`SERVED` is what the sources name, and what the page lists."""
    source = "".join(
        (ROOT / f"src/multiprobe/cli/{name}.py").read_text()
        for name in ("metrics", "count_views", "latency_views", "errors")
    )
    named = set(re.findall(r'"(multiprobe_\w+)"', source))
    assert named == {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in SERVED}
    page = (ROOT / "docs/metrics.md").read_text()
    assert {name for name in named if f"`{name}" not in page} == set()


def test_the_dashboard_is_whole() -> None:
    board = json.loads(DASHBOARD.read_text())
    assert board["title"] == board["uid"] == "multiprobe"
    assert board["schemaVersion"] >= 36
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not own & cells, f"{panel['title']} lies on another panel"
        assert max(x for x, _ in own) < 24
        cells |= own
        assert panel["type"] in ("stat", "timeseries", "heatmap")
        assert [target["refId"] for target in panel["targets"]] == ["A", "B"][: len(panel["targets"])]
    variables = {variable["name"] for variable in board["templating"]["list"]} | {"__rate_interval"}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(panels))) <= variables


def test_the_dashboard_asks_for_metrics_that_there_are() -> None:
    for query in queries(json.loads(DASHBOARD.read_text())["panels"]):
        assert names_in(query)
        assert names_in(query) <= SERVED
        assert query.count("(") == query.count(")")


def test_the_alert_rules_ask_for_metrics_that_there_are() -> None:
    yaml = pytest.importorskip("yaml")
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    assert len({rule["alert"] for rule in group["rules"]}) == len(group["rules"]) > 3
    for rule in group["rules"]:
        assert names_in(rule["expr"]) <= SERVED
        assert names_in(rule["expr"]) or rule["expr"].startswith("up{")
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert rule["annotations"]["summary"]


@NEEDS_PROMTOOL
def test_promtool_takes_the_rules() -> None:
    ended = subprocess.run(["promtool", "check", "rules", RULES], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "5 rules found" in ended.stdout


@NEEDS_PROMTOOL
def test_promtool_takes_every_query_of_the_dashboard(tmp_path: Path) -> None:
    """As recording rules, with Grafana's own variable filled in."""
    asked = [query.replace("$__rate_interval", "5m") for query in queries(json.loads(DASHBOARD.read_text())["panels"])]
    rules = [{"record": f"multiprobe:query{n}", "expr": query} for n, query in enumerate(asked)]
    file = tmp_path / "queries.yml"
    file.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))  # YAML, too
    ended = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
