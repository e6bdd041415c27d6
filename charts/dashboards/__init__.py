"""The Grafana dashboards of the chart, from their source here: `python -m charts.dashboards` writes their files."""

import json

from charts.dashboards import freshness, latency, materialization, service_level, stores

DASHBOARDS = tuple(module.DASHBOARD for module in (service_level, latency, freshness, materialization, stores))


def files() -> dict[str, str]:
    """The text of each file by its name, as it stands in charts/feature-platform/dashboards."""
    return {f"{one.name}.json": json.dumps(one.document(), indent=1) + "\n" for one in DASHBOARDS}
