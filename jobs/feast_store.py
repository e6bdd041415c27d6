"""Feast's FeatureStore for the repository, with what the settings say."""

import os
import sys
from typing import TYPE_CHECKING, TypeVar

import typeguard
import yaml

# Before feast, which sets the multiprocess folder of prometheus_client as it is imported.
import prometheus_client  # noqa: F401  # isort: skip

from jobs.errors import UsageError
from jobs.settings import PREFIX, Settings

if TYPE_CHECKING:
    from feast import FeatureStore

Decorated = TypeVar("Decorated")


def import_feast_unchecked() -> None:
    """Import Feast without instrumenting its classes for typeguard, in a quarter of the time (one second, not four).

    Feast 0.67 puts `@typechecked` on its classes, and typeguard parses and compiles each of them again at every import.
    That is worth its time where a repository's own definitions are parsed, so `apply` does not call this.
    """
    checked = typeguard.typechecked
    typeguard.typechecked = _as_it_is  # type: ignore[assignment]  # where Feast's modules take it from
    try:
        import feast
        import feast.infra.registry.sql  # noqa: F401
    finally:
        typeguard.typechecked = checked


def _as_it_is(target: Decorated) -> Decorated:
    return target


def export_to_feast(settings: Settings) -> None:
    """Put into this process's environment what `feature_store.yaml` refers to, also what came from a secrets folder."""
    os.environ[f"{PREFIX}PROJECT"] = settings.project
    os.environ[f"{PREFIX}REDIS_CONNECTION_STRING"] = settings.redis_connection_string
    os.environ[f"{PREFIX}REDIS_TYPE"] = settings.redis_type
    os.environ[f"{PREFIX}REDIS_SENTINEL_MASTER"] = settings.redis_sentinel_master
    # Feast calls home otherwise.
    os.environ.setdefault("FEAST_USAGE", "False")


def open_store(settings: Settings) -> "FeatureStore":
    """The FeatureStore of the repository. Raises UsageError when Feast refuses its feature_store.yaml."""
    export_to_feast(settings)
    repository = settings.repo.resolve()
    if str(repository) not in sys.path:
        sys.path.insert(0, str(repository))
    from feast import FeatureStore
    from feast.errors import FeastError
    from feast.infra.registry.sql import SqlRegistryConfig
    from feast.repo_config import load_repo_config
    from pydantic import ValidationError

    try:
        config = load_repo_config(repository, repository / "feature_store.yaml")
        if isinstance(config.registry, SqlRegistryConfig):
            # A job reads the registry once; a thread that refreshes it is for servers.
            config.registry.cache_mode = "sync"
        store = FeatureStore(config=config)
        store.repo_path = repository
    except (FeastError, ValidationError, ValueError, yaml.YAMLError) as error:
        raise UsageError(f"{repository / 'feature_store.yaml'}: {' '.join(str(error).split())}") from error
    if store.project != settings.project:
        raise UsageError(f"feature_store.yaml says project {store.project}, {PREFIX}PROJECT says {settings.project}")
    return store
