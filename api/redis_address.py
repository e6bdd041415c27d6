"""Feast's connection string for Redis: `host:port[,host:port...][,name=value...]`."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from api.settings import PREFIX, SettingsError

_SETTING = f"{PREFIX}REDIS_CONNECTION_STRING"
_TEXTS = {"username", "password", "client_name", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs"}
_FLAGS = {"ssl", "ssl_check_hostname"}
# The gateway has its own deadlines and never retries; Feast's clients need these in the same string.
_OVERRULED = {
    "socket_timeout",
    "socket_connect_timeout",
    "retry",
    "retry_on_timeout",
    "health_check_interval",
    "max_connections",
    "socket_keepalive",
    "skip_full_coverage_check",
}
# By the clock on the wall: a call is over before, unless this process had to wait for a CPU.
LAST_RESORT = 5.0
_KNOWN = sorted(_TEXTS | _FLAGS | _OVERRULED | {"db"})


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where Redis is (host, port) and the options of its client."""

    nodes: tuple[tuple[str, int], ...]
    options: dict[str, Any]


def parse(text: str, **credentials: str) -> RedisAddress:
    """The address that the string gives, with `username` and `password` beside it where they are not empty.

    SettingsError names what is wrong with the string, never the string itself: it holds a password.
    """
    parts = [part.strip() for part in text.split(",")]
    nodes = tuple(_node(part) for part in parts if "=" not in part)
    if not nodes:
        raise SettingsError(f"{_SETTING} must begin with HOST:PORT.")
    options: dict[str, Any] = {}
    for name, _, value in (part.partition("=") for part in parts if "=" in part):
        if name not in _KNOWN:
            raise SettingsError(f"{_SETTING} holds an unknown option; the known ones are {', '.join(_KNOWN)}.")
        if name not in _OVERRULED:
            options[name] = _option(name, value)
    return RedisAddress(nodes, options | _agreeing(credentials, options))


def client_options(address: RedisAddress) -> dict[str, Any]:
    """What redis-py's own clients are made with: they never retry, and the gateway's deadlines come first."""
    return {
        "socket_timeout": LAST_RESORT, "socket_connect_timeout": LAST_RESORT, "protocol": 2,
        "retry": Retry(NoBackoff(), 0), **address.options,
    }  # fmt: skip


def _agreeing(credentials: Mapping[str, str], options: Mapping[str, Any]) -> dict[str, str]:
    given = {name: value for name, value in credentials.items() if value}
    for name, value in given.items():
        if options.get(name, value) != value:
            setting = f"{PREFIX}REDIS_{name.upper()}"
            raise SettingsError(f"{setting} and the {name} in {_SETTING} differ; give one of the two.")
    return given


def _node(part: str) -> tuple[str, int]:
    host, _, port = part.partition(":")
    if not host or not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise SettingsError(f"{_SETTING} must begin with HOST:PORT, with a port from 1 to 65535.")
    return host, int(port)


def _option(name: str, value: str) -> Any:
    if name == "db":
        if not (value.isascii() and value.isdecimal()):
            raise SettingsError(f"{_SETTING}: db must be a whole number.")
        return int(value)
    if name in _FLAGS:
        if value not in ("true", "false"):
            raise SettingsError(f"{_SETTING}: {name} must be true or false.")
        return value == "true"
    # Feast reads each value as JSON if it is JSON: a quoted text is without its quotes.
    return json.loads(value) if value.startswith('"') and value.endswith('"') and len(value) > 1 else value
