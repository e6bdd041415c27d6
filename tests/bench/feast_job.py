"""`feast` with the arguments given, which says when its materialization begins and ends."""

from typing import Any

from feast import FeatureStore
from feast.cli.cli import cli

from tests.bench.events import FINISHED, STARTED, mark

_materialize = FeatureStore.materialize


def _marked(store: FeatureStore, *arguments: Any, **named: Any) -> None:
    mark(STARTED)
    _materialize(store, *arguments, **named)
    mark(FINISHED)


if __name__ == "__main__":
    FeatureStore.materialize = _marked  # type: ignore[assignment, method-assign]
    cli()
