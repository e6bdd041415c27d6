"""Settings of the jobs, from environment variables FEATURE_PLATFORM_* or files of a secrets folder."""

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from jobs.errors import UsageError

PREFIX = "FEATURE_PLATFORM_"


class Settings(BaseSettings):
    """What every job needs to know; a file of FEATURE_PLATFORM_SECRETS_DIR is named like the lower-case variable."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    repo: Path = Path("feature_repo")
    project: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    redis_connection_string: str = Field(min_length=1)
    redis_type: Literal["redis", "redis_sentinel", "redis_cluster"] = "redis"
    redis_sentinel_master: str = "mymaster"


def load_settings() -> Settings:
    """The settings, validated. Raises UsageError naming each variable that is missing or wrong."""
    secrets = os.environ.get(f"{PREFIX}SECRETS_DIR")
    if secrets and not Path(secrets).is_dir():
        raise UsageError(f"{PREFIX}SECRETS_DIR is {secrets}, which is not a folder")
    try:
        settings = Settings(_secrets_dir=secrets)
    except ValidationError as error:
        wrong = (f"{PREFIX}{str(problem['loc'][0]).upper()}: {problem['msg']}" for problem in error.errors())
        raise UsageError("settings: " + "; ".join(wrong)) from error
    if not (settings.repo / "feature_store.yaml").is_file():
        raise UsageError(f"{PREFIX}REPO is {settings.repo}, which holds no feature_store.yaml")
    return settings
