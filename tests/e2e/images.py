"""Other images of the platform, for a release to be upgraded to."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.e2e.cluster import REPOSITORY, Cluster
from tests.e2e.commands import run

READABLE = 0o644


def changed_image(cluster: Cluster, tag: str, texts: Mapping[str, str]) -> str:
    """The name of an image in the cluster's nodes: the cluster's own, but for these files.

    `texts`: path in the project -> text.
    """
    name = f"{cluster.image.rpartition(':')[0]}:{tag}"
    with tempfile.TemporaryDirectory() as folder:
        for path, text in texts.items():
            assert (REPOSITORY / path).exists(), path
            file = Path(folder, "app", path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            file.chmod(READABLE)
        Path(folder, "Dockerfile").write_text(f"FROM {cluster.image}\nCOPY app /app\n")
        run("docker", "build", "--quiet", "--tag", name, folder)
    try:
        run("kind", "load", "docker-image", name, "--name", cluster.name)
    finally:
        run("docker", "image", "rm", name)
    return name
