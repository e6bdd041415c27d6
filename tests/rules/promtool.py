"""Prometheus' own promtool: from PROMTOOL, from PATH, or out of Prometheus' image by Docker.

`python -m tests.rules.promtool` says in one line each what the tests of rules lack, and exits 2.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.chart.tools import Missing, helm

IMAGE = "prom/prometheus:v2.53.3"
LACKING = f"promtool is missing; put it on PATH, name it in PROMTOOL, or start Docker, which runs it from {IMAGE}"


class Refused(Exception):
    """promtool found something wrong; the message is what it printed."""


def run(*arguments: str, files: Mapping[str, str]) -> str:
    """What promtool prints of files, given by name and text, in a folder of which it is called. Refused, or Missing."""
    with tempfile.TemporaryDirectory(prefix="promtool-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the image's user is another one
        for file, text in files.items():
            (folder / file).write_text(text)
        command = [*_command(folder), *arguments]
        # Both streams in one, in their order: what failed is printed in between what it failed in.
        ended = subprocess.run(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
    if ended.returncode:
        raise Refused(ended.stdout)
    return ended.stdout


def _command(folder: Path) -> list[str]:
    program = os.environ.get("PROMTOOL")
    if program and shutil.which(program) is None:
        raise Missing(f"{program} is missing; name another promtool in PROMTOOL, or none to look for it")
    if program or shutil.which("promtool"):
        return [program or "promtool"]
    if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        raise Missing(LACKING)
    mount = f"{folder}:/rules:ro"
    options = ("--rm", "--network=none", f"--volume={mount}", "--workdir=/rules", "--entrypoint=sh")
    # Docker would hand the two streams on apart.
    return ["docker", "run", *options, IMAGE, "-c", 'exec promtool "$@" 2>&1', "promtool"]


def available() -> None:
    """Missing, if there is no promtool."""
    run("--version", files={})


def main() -> int:
    missing = []
    for needed in (helm, available):
        try:
            needed()
        except (Missing, Refused) as error:
            missing.append(str(error))
    print(*missing, sep="\n", end="\n" if missing else "", file=sys.stderr)
    return 2 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
