"""A delivery: an export folder, the instant that it describes, and since when the platform may be said to know it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from jobs.errors import UsageError
from jobs.instants import isoformat, parse_instant, utc_now

AS_OF_FILE, DELIVERED_AT_FILE = "AS_OF", "DELIVERED_AT"
# What a volume or a file system keeps at its root for itself.
LOST_AND_FOUND = "lost+found"


@dataclass(frozen=True)
class Delivery:
    """An export folder and the instant that it describes."""

    folder: Path
    as_of: datetime
    delivered_at: datetime | None
    """None where nobody says when it was delivered."""
    delivered_at_by: str
    """The flag or the file that says so, or would."""


def find_delivery(folder: Path, as_of: str | None = None, delivered_at: str | None = None) -> Delivery:
    """The delivery in `folder`, by these flags; without `as_of`, by what its files AS_OF and DELIVERED_AT state.

    Raises UsageError when nothing says what it describes, or what is said cannot be right.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    stated = _stated(folder / AS_OF_FILE)
    described = _Said("--as-of", parse_instant(as_of)) if as_of is not None else stated
    if described is None:
        raise UsageError(
            f"{folder} has no file {AS_OF_FILE}, which states what it describes and is written last, when all else is "
            "there; wait for it, write it, or name the folder with --as-of"
        )
    known = _Said("--delivered-at", parse_instant(delivered_at)) if delivered_at is not None else None
    if known is None and as_of is None:
        known = _stated(folder / DELIVERED_AT_FILE)
    _check_order(described, known)
    if stated is not None and stated.instant != described.instant:
        raise UsageError(
            f"{stated.by} says {isoformat(stated.instant)}, but {described.by} is {isoformat(described.instant)}"
        )
    if known is None:
        return Delivery(folder, described.instant, None, "--delivered-at")
    return Delivery(folder, described.instant, known.instant, known.by)


def find_deliveries(root: Path) -> list[Delivery]:
    """What the folders in `root` state, in order of delivery: what does not state when it was is delivered now.

    Raises UsageError when there is no folder, one does not state what it describes, or of two that describe the same
    instant it is not stated which one corrects the other. Names with a dot in front are nobody's deliveries.
    """
    if not root.is_dir():
        raise UsageError(f"--all {root} is not a folder")
    try:
        folders = [path for path in sorted(root.iterdir()) if path.is_dir() and not _is_apart(path)]
    except OSError as error:
        raise UsageError(f"--all {root} cannot be read: {error.strerror}") from error
    if not folders:
        raise UsageError(f"--all {root} holds no folder; it takes a folder of export folders, each with a file AS_OF")
    deliveries = [find_delivery(folder) for folder in folders]
    _check_corrections(deliveries)
    now = utc_now()
    return sorted(deliveries, key=lambda delivery: (delivery.delivered_at or now, delivery.as_of))


@dataclass(frozen=True)
class _Said:
    """An instant, and the flag or the file that names it."""

    by: str
    instant: datetime


def _stated(file: Path) -> _Said | None:
    if not file.is_file():
        return None
    try:
        return _Said(str(file), parse_instant(file.read_text(errors="replace").strip()))
    except (UsageError, OSError) as error:
        raise UsageError(f"{file}: {error}") from error


def _check_order(as_of: _Said, delivered_at: _Said | None) -> None:
    now = utc_now()
    for said in (as_of, delivered_at):
        if said is not None and said.instant > now:
            raise UsageError(f"{said.by} {isoformat(said.instant)} is in the future")
    if delivered_at is not None and delivered_at.instant < as_of.instant:
        raise UsageError(
            f"{delivered_at.by} {isoformat(delivered_at.instant)} is before {as_of.by} {isoformat(as_of.instant)}"
        )


def _is_apart(path: Path) -> bool:
    return path.name.startswith(".") or path.name == LOST_AND_FOUND


def _check_corrections(deliveries: Iterable[Delivery]) -> None:
    # Without an order each look would take one of the two for the correction of the other, in turns.
    ordered = sorted(deliveries, key=lambda one: (one.as_of, one.delivered_at is None, one.delivered_at or one.as_of))
    for one, other in pairwise(ordered):
        if one.as_of == other.as_of and (other.delivered_at is None or one.delivered_at == other.delivered_at):
            raise UsageError(
                f"{one.folder} and {other.folder} both describe {isoformat(one.as_of)}; a file {DELIVERED_AT_FILE} in "
                "each must state when it was delivered, the correction later than what it corrects"
            )
