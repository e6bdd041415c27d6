"""Programs that the tests run, and the two ways in which a step of theirs goes wrong."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

TAIL_LETTERS = 3000


class CommandError(AssertionError):
    """A program ended with another exit code than 0; the message holds the end of what it said."""


class WaitError(AssertionError):
    """What was waited for did not come in time; the message says what was seen last."""


def run(
    *command: str | Path,
    environment: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    folder: Path | None = None,
) -> bytes:
    """What the program wrote to stdout. Raises CommandError."""
    ended = subprocess.run(
        [str(part) for part in command], env=environment, input=stdin, capture_output=True, cwd=folder, check=False
    )
    if ended.returncode != 0:
        said = (ended.stderr or ended.stdout).decode(errors="replace").strip()
        raise CommandError(f"`{shown(command)}` ended with {ended.returncode}: {said[-TAIL_LETTERS:]}")
    return ended.stdout


def shown(command: tuple[str | Path, ...]) -> str:
    """The command on one line; a script that is given as an argument is cut short."""
    return " ".join(str(part) if len(str(part)) < 200 else f"{str(part)[:60]!r}..." for part in command)
