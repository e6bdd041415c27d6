"""Settings of the jobs, from environment variables FEATURE_PLATFORM_* or files of a secrets folder."""

import os
import re
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from jobs import redis_address
from jobs.errors import UsageError

PREFIX = "FEATURE_PLATFORM_"
PROJECT_NAME = re.compile(r"[^\W_]\w*")
"""What Feast 0.67 takes: its `is_valid_name`, and no hyphen, which it refuses whatever the online store is."""
PROJECT_RULE = (
    "a Feast project's name is made of letters, digits and underscores, with a letter or digit first; "
    "Feast takes no hyphen"
)


class RepositorySettings(BaseSettings):
    """Where the repository is; a file of FEATURE_PLATFORM_SECRETS_DIR is named like the lower-case variable."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    repo: Path = Path("feature_repo")


class ProjectSettings(RepositorySettings):
    """The repository and the Feast project that it is applied as."""

    project: str

    @field_validator("project")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if not PROJECT_NAME.fullmatch(value):
            raise PydanticCustomError("project", PROJECT_RULE)
        return value


class RedisSettings(RepositorySettings):
    """Where Redis is, and who we are there; an empty text stands for a setting that is not given."""

    redis_connection_string: str = Field("", repr=False)
    redis_type: Literal["redis", "redis_sentinel", "redis_cluster"] = "redis"
    redis_sentinel_master: str = "mymaster"
    redis_username: str = ""
    redis_password: str = Field("", repr=False)

    @property
    def redis_address(self) -> str:
        """The connection string with user name and password in it, as Feast and our own client take it."""
        return redis_address.with_options(self.redis_connection_string, self._credentials())

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if not self.redis_connection_string:
            return self
        there = redis_address.parse(self.redis_connection_string).options
        for name, value in self._credentials().items():
            if there.get(name, value) != value:
                raise PydanticCustomError(
                    "differ",
                    f"{PREFIX}REDIS_{name.upper()} and the {name} in {PREFIX}REDIS_CONNECTION_STRING differ; "
                    "give one of the two",
                )
        return self

    def _credentials(self) -> dict[str, str]:
        given = {"username": self.redis_username, "password": self.redis_password}
        return {name: value for name, value in given.items() if value}


class Settings(ProjectSettings, RedisSettings):
    """What a job needs to know that reads the registry or the online store."""

    redis_connection_string: str = Field(min_length=1, repr=False)


Loaded = TypeVar("Loaded", bound=RepositorySettings)
Project = TypeVar("Project", bound=ProjectSettings)


def load_repository() -> Path:
    """The repository's folder alone, for a job that needs neither registry nor online store. Raises UsageError."""
    return load(RepositorySettings).repo


def load_project() -> ProjectSettings:
    """The repository and its project, for what needs no online store. Raises UsageError."""
    return _with_repository(load(ProjectSettings))


def load_settings() -> Settings:
    """The settings, validated. Raises UsageError naming each variable that is missing or wrong."""
    return _with_repository(load(Settings))


def load(kind: type[Loaded], **given: Any) -> Loaded:
    """The settings of one kind, as `given` where it gives them.

    Raises UsageError naming each variable that is missing or wrong, never its value.
    """
    try:
        return kind(_secrets_dir=folder_named_by("SECRETS_DIR"), **given)
    except ValidationError as error:
        raise UsageError("settings: " + "; ".join(map(_sentence, error.errors(include_input=False)))) from error


def folder_named_by(name: str) -> Path | None:
    """The folder that the variable FEATURE_PLATFORM_`name` names, if it is set. Raises UsageError if it is none."""
    folder = os.environ.get(f"{PREFIX}{name}")
    if not folder:
        return None
    if not Path(folder).is_dir():
        raise UsageError(f"{PREFIX}{name} is {folder}, which is not a folder")
    return Path(folder)


def read_secret(file: Path) -> str:
    """What a mounted file says, without the line's end that editors leave. Raises UsageError where that is no text."""
    try:
        text = file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"{file} cannot be read: {reason}") from error
    if "\0" in text:
        raise UsageError(f"{file} holds a zero byte; a user name or password is text")
    return text


def _with_repository(settings: Project) -> Project:
    if not (settings.repo / "feature_store.yaml").is_file():
        raise UsageError(f"{PREFIX}REPO is {settings.repo}, which holds no feature_store.yaml")
    return settings


def _sentence(problem: Any) -> str:
    where, what = problem["loc"], problem["msg"]
    return f"{PREFIX}{str(where[0]).upper()}: {what}" if where else str(what)
