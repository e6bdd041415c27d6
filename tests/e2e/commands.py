"""Programs that the tests run, and the two ways in which a step of theirs goes wrong."""

import re
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


def blocks(text: str, language: str = "sh") -> list[str]:
    """The fenced blocks of a language in a Markdown text, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def run_block(block: str, environment: Mapping[str, str], folder: Path) -> str:
    """Run the lines of a block in a shell that ends at the first failure; what they print. Raises CommandError."""
    script = ("bash", "-o", "errexit", "-o", "nounset", "-o", "pipefail", "-c", block)
    return run(*script, environment=environment, folder=folder).decode()
