"""The gateway's settings: environment variables FEATURE_PLATFORM_*, or files of the same lower-case name in the
folder FEATURE_PLATFORM_SECRETS_DIR."""

import os
import re
import string
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "FEATURE_PLATFORM_"
PROJECT_NAME = re.compile(r"[^\W_]\w*")
"""What Feast 0.67 takes."""
Port = Annotated[int, Field(ge=0, le=65535)]


class SettingsError(ValueError):
    """A setting that cannot be used; the message names it and what is right."""


class Settings(BaseSettings):
    """All settings; see `load`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    project: Annotated[
        str,
        Field(
            description="the name of the Feast project whose features are served: letters, digits and underscores, "
            "with a letter or digit first; Feast takes no hyphen"
        ),
    ]
    redis_connection_string: Annotated[
        str, Field(min_length=1, repr=False, description="HOST:PORT[,HOST:PORT...][,db=0][,password=...][,ssl=true]")
    ]
    redis_username: Annotated[str, Field(description="the user name that Redis knows the gateway by")] = ""
    redis_password: Annotated[str, Field(repr=False, description="the password of that user")] = ""
    redis_type: Annotated[
        Literal["redis", "redis_sentinel", "redis_cluster"],
        Field(description="redis, redis_sentinel or redis_cluster"),
    ] = "redis"
    redis_sentinel_master: Annotated[
        str, Field(min_length=1, description="the name of the master that the sentinels watch")
    ] = "mymaster"
    gateway_host: Annotated[str, Field(min_length=1, description="the address to listen on")] = "127.0.0.1"
    gateway_port: Annotated[Port, Field(description="a port from 1 to 65535, or 0 for any free one")] = 8000
    gateway_metrics_port: Annotated[Port, Field(description="a port from 1 to 65535, or 0 for any free one")] = 9090
    feature_server_url: Annotated[
        str | None, Field(description="the http:// or https:// address of Feast's feature server")
    ] = None
    gateway_request_log: Annotated[
        Literal["all", "failed_and_slow"], Field(description="all (requests have a line in the log) or failed_and_slow")
    ] = "failed_and_slow"
    gateway_slow_request_seconds: Annotated[
        float, Field(gt=0, allow_inf_nan=False, description="a number of seconds above 0")
    ] = 0.1
    gateway_status_page: Annotated[bool, Field(description="true (GET / is the status page) or false")] = True
    freshness_reference: Annotated[
        Literal["now", "watermark"], Field(description="now (age is counted from the clock) or watermark")
    ] = "now"
    api_key_hashes: Annotated[
        tuple[str, ...],
        NoDecode,
        Field(
            repr=False,
            description="SHA-256 hashes of API keys, 64 hex digits each, with commas between; unset: no keys",
        ),
    ] = ()

    @field_validator("project")
    @classmethod
    def _is_project_name(cls, value: str) -> str:
        if not PROJECT_NAME.fullmatch(value):
            raise ValueError("not a project's name")
        return value

    @field_validator("api_key_hashes", mode="before")
    @classmethod
    def _split_hashes(cls, value: object) -> object:
        return tuple(re.split(r"[,\s]+", value.strip())) if isinstance(value, str) else value

    @field_validator("api_key_hashes")
    @classmethod
    def _are_hashes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(len(entry) != 64 or set(entry) - set(string.hexdigits) for entry in value):
            raise ValueError("not a SHA-256 in hex")
        return tuple(entry.lower() for entry in value)

    @field_validator("feature_server_url")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^\s/?#]+[^\s?#]*", value):
            raise ValueError("not an address")
        return value.rstrip("/") if value else value


def load() -> Settings:
    """The settings of this process; SettingsError with one sentence for each wrong one."""
    folder = os.environ.get(f"{PREFIX}SECRETS_DIR")
    if folder and not Path(folder).is_dir():
        raise SettingsError(f"{PREFIX}SECRETS_DIR must be a folder that exists.")
    try:
        return Settings(_secrets_dir=folder or None)
    except ValidationError as error:
        wrong = {str(entry["loc"][0]): entry["type"] for entry in error.errors(include_url=False, include_input=False)}
        raise SettingsError("\n".join(_sentence(name, kind) for name, kind in wrong.items())) from None


def _sentence(name: str, kind: str) -> str:
    """What is wrong with a setting, without its value: it may be a secret."""
    right = Settings.model_fields[name].description
    verb = "is not set; it must be" if kind == "missing" else "must be"
    return f"{PREFIX}{name.upper()} {verb} {right}."
