"""The Grafana dashboards of the chart, from their source here: `python -m charts.dashboards` writes their files."""

import json
from pathlib import Path

from charts.dashboards import freshness, latency, materialization, service_level, stores

FOLDER = Path(__file__).parents[1] / "feature-platform" / "dashboards"
DASHBOARDS = tuple(module.DASHBOARD for module in (service_level, latency, freshness, materialization, stores))


def files() -> dict[str, str]:
    """The text of each file by its name."""
    return {f"{one.name}.json": json.dumps(one.document(), indent=1) + "\n" for one in DASHBOARDS}


def write() -> None:
    """Replace what is in the folder."""
    for file in FOLDER.glob("*.json"):
        file.unlink()
    for name, text in files().items():
        (FOLDER / name).write_text(text)
