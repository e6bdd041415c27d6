"""What the chart's checks need from outside Python: two Helms, and the CRDs of custom kinds.

`python -m tests.chart.tools` says in one line each what is missing, and exits 2.
"""

import functools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST_HELM_3 = (3, 18)


class Missing(Exception):
    """Something that the checks need is not there; the message is one line that says what, and what is right."""


@functools.cache
def helm() -> str:
    """The Helm that renders, of major version 4."""
    program = os.environ.get("HELM") or "helm"
    found = _version(program, "HELM")
    if found[0] != 4:
        raise Missing(f"{program} is Helm {found[0]}.{found[1]}; name a Helm 4 in HELM")
    return program


@functools.cache
def helm3() -> str:
    """The other Helm, of major version 3."""
    program = os.environ.get("HELM3") or "helm3"
    found = _version(program, "HELM3")
    if found[0] != 3 or found < OLDEST_HELM_3:
        raise Missing(f"{program} is Helm {found[0]}.{found[1]}; name a Helm 3 from 3.18 on in HELM3")
    return program


def crd_files() -> list[Path]:
    """The YAML files that CRDS names, itself or by their folders."""
    files: list[Path] = []
    for name in os.environ.get("CRDS", "").split():
        path = Path(name)
        files += sorted(path.glob("*.yaml")) if path.is_dir() else [path]
    missing = [str(path) for path in files if not path.is_file()]
    if missing or not files:
        what = f"no such file: {', '.join(missing)}" if missing else "no file is named"
        raise Missing(f"the CRDs of custom kinds are missing: {what}; name their files or folders in CRDS")
    if any(path.suffix == ".zst" for path in files) and not shutil.which("zstd"):
        raise Missing("zstd is missing, and CRDS names files that it has packed; put it on PATH, or unpack them")
    return files


def text_of(file: Path) -> str:
    """What the file holds, unpacked if zstd has packed it."""
    if file.suffix != ".zst":
        return file.read_text()
    return subprocess.run(["zstd", "--decompress", "--stdout", file], capture_output=True, text=True, check=True).stdout


def _version(program: str, variable: str) -> tuple[int, int]:
    try:
        ended = subprocess.run([program, "version", "--short"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Missing(f"{program} is missing; put it on PATH, or name another program in {variable}") from error
    found = re.match(r"v(\d+)\.(\d+)", ended.stdout)
    if found is None:
        raise Missing(f"{program} is no Helm: it calls its version {ended.stdout.strip()!r}")
    return int(found[1]), int(found[2])


def main() -> int:
    missing = []
    for needed in (helm, helm3, crd_files):
        try:
            needed()
        except Missing as error:
            missing.append(str(error))
    print(*missing, sep="\n", end="\n" if missing else "", file=sys.stderr)
    return 2 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
