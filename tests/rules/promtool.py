"""promtool, which reads rules and expressions as Prometheus does."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

IMAGE = "prom/prometheus:v2.53.3"


class PromtoolFailed(Exception):
    """promtool is missing, or is not content; the message is what is missing, or what it printed."""


def run(*arguments: str, files: Mapping[str, str]) -> str:
    """What promtool prints in a folder that holds these files, by name. Raises PromtoolFailed.

    The program is the one that PROMTOOL names, or is on PATH, or is in Prometheus' image.
    """
    with tempfile.TemporaryDirectory(prefix="promtool-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the image's user reads it
        for file, text in files.items():
            (folder / file).write_text(text)
        ended = subprocess.run(
            [*_program(folder), *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    if ended.returncode:
        raise PromtoolFailed(ended.stdout.strip())
    return ended.stdout


def _program(folder: Path) -> list[str]:
    program = os.environ.get("PROMTOOL") or shutil.which("promtool")
    if program:
        return [program]
    if shutil.which("docker") is None:
        raise PromtoolFailed(f"promtool is missing: put it on PATH, name it in PROMTOOL, or install Docker ({IMAGE})")
    return ["docker", "run", "--rm", f"--volume={folder}:/files:ro", "--workdir=/files", "--entrypoint=promtool", IMAGE]
