"""The rules are over series that are there: a rule over another name is silent for ever."""

import json
import re
from pathlib import Path

import httpx
import redis
from prometheus_client.parser import text_string_to_metric_families

from tests import gateway_support as support
from tests.gateway_support import NOW
from tests.rules.rendered import rules

OURS = re.compile(r"(?<![\w:])(feature_(?:gateway|materialization)_\w+)\{([^}]*)\}")
# What the Prometheus that scrapes adds.
ADDED = {"namespace", "job"}


def test_every_series_of_ours_in_a_rule_is_exported_with_its_labels(redis_client: redis.Redis, tmp_path: Path) -> None:
    support.seed(redis_client)
    instant = NOW.isoformat()
    entry = {"watermark": instant, "rows": 7, "previous_rows": 8, "started_at": instant, "finished_at": instant}
    redis_client.hset(f"feature-platform:{support.PROJECT}:status", "usage", json.dumps(entry))
    support.show_runs(redis_client, {"2024-01-01T00:00:00Z": {"finished_at": instant, "exit_code": 3}, instant: {}})
    with support.gateway_process(tmp_path / "log") as gateway:
        gateway.wait_ready()
        gateway.http.get("/features/u1")
        families = list(text_string_to_metric_families(httpx.get(f"{gateway.metrics_url}/metrics").text))
    exported = {sample.name: sample.labels.keys() | ADDED for family in families for sample in family.samples}
    asked = [found for rule in rules() for found in OURS.findall(rule["expr"])]
    assert asked
    for name, matchers in asked:
        assert set(re.findall(r'(\w+)(?:=|!)~?"', matchers)) <= exported.get(name, set()), name
