"""Settings of the jobs, from environment variables FEATURE_PLATFORM_* or files of a secrets folder."""

import os
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from jobs.errors import UsageError

PREFIX = "FEATURE_PLATFORM_"

Loaded = TypeVar("Loaded", bound="RepositorySettings")


class RepositorySettings(BaseSettings):
    """Where the repository is; a file of FEATURE_PLATFORM_SECRETS_DIR is named like the lower-case variable."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    repo: Path = Path("feature_repo")


class Settings(RepositorySettings):
    """What a job needs to know that reads the registry or the online store."""

    project: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    redis_connection_string: str = Field(min_length=1)
    redis_type: Literal["redis", "redis_sentinel", "redis_cluster"] = "redis"
    redis_sentinel_master: str = "mymaster"


def load_repository() -> Path:
    """The repository's folder alone, for a job that needs neither registry nor online store. Raises UsageError."""
    return _load(RepositorySettings).repo


def load_settings() -> Settings:
    """The settings, validated. Raises UsageError naming each variable that is missing or wrong."""
    settings = _load(Settings)
    if not (settings.repo / "feature_store.yaml").is_file():
        raise UsageError(f"{PREFIX}REPO is {settings.repo}, which holds no feature_store.yaml")
    return settings


def _load(kind: type[Loaded]) -> Loaded:
    secrets = os.environ.get(f"{PREFIX}SECRETS_DIR")
    if secrets and not Path(secrets).is_dir():
        raise UsageError(f"{PREFIX}SECRETS_DIR is {secrets}, which is not a folder")
    try:
        return kind(_secrets_dir=secrets)
    except ValidationError as error:
        wrong = (f"{PREFIX}{str(problem['loc'][0]).upper()}: {problem['msg']}" for problem in error.errors())
        raise UsageError("settings: " + "; ".join(wrong)) from error
