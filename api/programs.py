"""The compiled programs of the plan that is served now."""

from collections.abc import Sequence

from api.compiled import Program
from api.metrics import Metrics
from api.selection import Selection, Selector

# Callers choose the lists of features. A feature takes about a kilobyte in a program and its selection.
MOST, MOST_FEATURES = 100, 10_000


def can_compile(selection: Selection) -> bool:
    """Whether a selection is of stored features, all of them in one hash of an entity with one join key."""
    return (
        not selection.on_demand
        and len(selection.groups) == len(selection.join_keys) == 1
        and selection.groups[0].join_keys == selection.join_keys
    )


class Programs:
    """The program of each call that comes often, for the plan that is served now."""

    def __init__(self, project: str, metrics: Metrics, from_watermark: bool) -> None:
        self._project, self._metrics, self._from_watermark = project.encode(), metrics, from_watermark
        self._selector: Selector | None = None
        self._features = 0
        """Of all that are known."""
        self._known: dict[tuple[str | None, tuple[str, ...] | None, bool], tuple[Selection, Program | None]] = {}

    def find(
        self, selector: Selector, service: str | None, features: Sequence[str] | None, full_names: bool = False
    ) -> tuple[Selection, Program | None]:
        """What `selector` resolves, and its program if it has one; InvalidRequest as `Selector.resolve`."""
        if selector is not self._selector:
            self._selector = selector
            self._forget()
        asked = service, None if features is None else tuple(features), full_names
        found = self._known.get(asked)
        if found is None:
            selection = selector.resolve(service, features, full_names)
            self._features += len(selection.asked)
            if len(self._known) >= MOST or self._features > MOST_FEATURES:
                self._forget()
            found = self._known[asked] = selection, self._compiled(selection)
        return found

    def _forget(self) -> None:
        self._known.clear()
        self._features = 0

    def _compiled(self, selection: Selection) -> Program | None:
        if not can_compile(selection):
            return None
        return Program(selection, self._project, self._metrics, self._from_watermark)
