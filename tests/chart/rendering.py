"""What Helm makes of the chart: its objects, its notes, or the sentence with which it refuses."""

import functools
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chart import tools
from tests.chart.manifests import Manifest, parse
from tests.conftest import REPOSITORY

CHART = REPOSITORY / "charts" / "feature-platform"
RELEASE = "streamflow"
NAMESPACE = "features"
# Nothing here may ask a cluster.
ENVIRONMENT = {**os.environ, "KUBECONFIG": os.devnull}

Values = Mapping[str, Any]


class Refused(Exception):
    """Helm did not render; the message is what it printed."""


@dataclass(frozen=True)
class Rendering:
    """One rendering as text; the same for the same input, unless a password was made up."""

    text: str

    @property
    def objects(self) -> list[Manifest]:
        """The rendered objects, hooks included. They are shared: do not change them."""
        return parse(self.text)

    def of_kind(self, kind: str) -> list[Manifest]:
        return [manifest for manifest in self.objects if manifest["kind"] == kind]


def render(
    *files: Path,
    values: Values | None = None,
    chart: Path = CHART,
    program: str | None = None,
    kubernetes: str = "1.37",
    release: str = RELEASE,
    namespace: str = NAMESPACE,
    again: bool = False,
) -> Rendering:
    """The chart with values files and, over them, values. Equal arguments are rendered once, unless `again`."""
    command = (
        program or tools.helm(),
        "template",
        release,
        str(chart),
        "--kube-version",
        kubernetes,
        "--namespace",
        namespace,
    )
    run = _helm.__wrapped__ if again else _helm
    return Rendering(run(command, files, json.dumps(values or {}, sort_keys=True)))


def notes(*files: Path, values: Values | None = None, chart: Path = CHART, release: str = RELEASE) -> str:
    """What `helm install` would tell the user at its end."""
    command = (
        tools.helm(),
        "install",
        release,
        str(chart),
        "--dry-run=client",
        "--output",
        "json",
        "--namespace",
        NAMESPACE,
    )
    told: str = json.loads(_helm(command, files, json.dumps(values or {}, sort_keys=True)))["info"]["notes"]
    return told


def refusal(*files: Path, values: Values | None = None, chart: Path = CHART, kubernetes: str = "1.37") -> str:
    """The sentence with which Helm refuses the values."""
    try:
        render(*files, values=values, chart=chart, kubernetes=kubernetes)
    except Refused as error:
        return str(error)
    raise AssertionError(f"rendered, and should have been refused: {values}")


@functools.cache
def _helm(command: tuple[str, ...], files: tuple[Path, ...], values: str) -> str:
    named = [part for file in files for part in ("--values", str(file))]
    ended = subprocess.run(
        [*command, *named, "--values", "-"],
        input=values, env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if ended.returncode:
        raise Refused(ended.stderr.strip())
    return ended.stdout
