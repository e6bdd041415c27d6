"""What the status page's tests need from outside Python: a Chromium.

`python -m tests.page.tools` says in one line that it is missing, and exits 2.
"""

import os
import shutil
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome")


class Missing(Exception):
    """No browser is there; the message is one line that says what is right."""


def chromium() -> str:
    """The browser's path: what CHROMIUM names, or the first on PATH."""
    named = os.environ.get("CHROMIUM")
    found = next(filter(None, map(shutil.which, [named] if named else NAMES)), None)
    if found is None:
        where = f"no such program: {named}" if named else f"none of {', '.join(NAMES)} is on PATH"
        raise Missing(f"Chromium is missing: {where}; install it, or name its program in CHROMIUM")
    return found


def main() -> int:
    try:
        chromium()
    except Missing as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
