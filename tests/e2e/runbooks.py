"""The runbooks of alerts: what an operator is told to run, run as it stands."""

import re

from tests.conftest import REPOSITORY
from tests.e2e.cluster import Cluster
from tests.e2e.commands import blocks, run_block

FOLDER = REPOSITORY / "charts" / "feature-platform" / "runbooks"
NAMESPACE, RELEASE = "feature-platform", "features"
"""Whom their commands are about."""


def mitigation(alert: str, containing: str = "") -> str:
    """The one block of commands under `Mitigation` that holds this text."""
    text = (FOLDER / f"{alert}.md").read_text()
    (section,) = re.findall(r"^## Mitigation\n(.*?)^## ", text, flags=re.DOTALL | re.MULTILINE)
    (found,) = [block for block in blocks(section) if containing in block]
    return found


def follow(cluster: Cluster, block: str) -> str:
    """Run a block in a shell on the cluster; what it prints. Raises CommandError."""
    return run_block(block, cluster.environment, REPOSITORY)
