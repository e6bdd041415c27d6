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
    os.environ[f"{PREFIX}REDIS_CONNECTION_STRING"] = settings.redis_address
    os.environ[f"{PREFIX}REDIS_TYPE"] = settings.redis_type
    os.environ[f"{PREFIX}REDIS_SENTINEL_MASTER"] = settings.redis_sentinel_master
    # Feast calls home otherwise.
    os.environ.setdefault("FEAST_USAGE", "False")


def open_store(settings: Settings) -> "FeatureStore":
    """The FeatureStore of the repository. Raises UsageError when Feast refuses its feature_store.yaml.

    What it has read of an SQL registry it keeps: whoever wants it newer calls `refresh_registry`.
    """
    export_to_feast(settings)
    repository = settings.repo.resolve()
    if str(repository) not in sys.path:
        sys.path.insert(0, str(repository))
    from feast import FeatureStore
    from feast.errors import FeastError
    from feast.infra.registry.sql import SqlRegistryConfig
    from feast.repo_config import FeastConfigError, load_repo_config
    from pydantic import ValidationError

    try:
        config = load_repo_config(repository, repository / "feature_store.yaml")
        if isinstance(config.registry, SqlRegistryConfig):
            # A job reads it once, a server beside its requests; Feast's own thread would not outlive a fork.
            config.registry.cache_mode, config.registry.cache_ttl_seconds = "sync", 0
        store = FeatureStore(config=config)
        store.repo_path = repository
    except (FeastError, FeastConfigError, ValidationError, ValueError, yaml.YAMLError) as error:
        # `from None`: what a traceback would show of Feast's own error quotes the file with the password in it.
        raise UsageError(f"{repository / 'feature_store.yaml'}: {_reason(error)}") from None
    if store.project != settings.project:
        raise UsageError(f"feature_store.yaml says project {store.project}, {PREFIX}PROJECT says {settings.project}")
    return store


def _reason(error: Exception) -> str:
    """What an error says, without the values that it quotes: one of them holds the password."""
    from pydantic import ValidationError

    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    invalid = error if isinstance(error, ValidationError) else error.__context__
    if isinstance(invalid, ValidationError):
        wrong = invalid.errors(include_input=False, include_url=False)
        return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in wrong)
    return " ".join(str(error).split())
