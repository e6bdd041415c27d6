"""What is wrong with exports: collected, so that one run tells more than the first mistake."""

from jobs.errors import DataError

LISTED = 5
SHOWN_CHARACTERS = 60


class Violations:
    """The violations found so far, each one clause that names file, line, column and value where there are such."""

    def __init__(self) -> None:
        """None yet."""
        self._found: list[str] = []
        self._count = 0

    def add(self, place: str, problem: str, count: int = 1) -> None:
        """`count` violations of one kind, of which the first is at `place`."""
        more = f" (and {count - 1:,} more like it)" if count > 1 else ""
        self._found.append(f"{place}: {problem}{more}")
        self._count += count

    def __len__(self) -> int:
        """How many single violations were found."""
        return self._count

    def raise_any(self) -> None:
        """Raise DataError with the first few and the number of all, if there are any."""
        if not self._found:
            return
        unlisted = f"; and {len(self._found) - LISTED:,} more findings" if len(self._found) > LISTED else ""
        total = "1 violation" if self._count == 1 else f"{self._count:,} violations"
        raise DataError(f"{total} of the contract, nothing was loaded: {'; '.join(self._found[:LISTED])}{unlisted}")


def shown(value: object) -> str:
    """A value as a message shows it: quoted, control characters escaped, long ones cut."""
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."
