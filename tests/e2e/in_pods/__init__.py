"""Programs that tests run inside pods of the platform's image: each takes JSON on stdin and answers with JSON."""

from pathlib import Path

HERE = Path(__file__).parent


def command(program: str) -> tuple[str, ...]:
    """What a pod runs for the program `program`.py of this folder, which it does not have."""
    return ("python", "-c", (HERE / f"{program}.py").read_text())
