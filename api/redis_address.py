"""Feast's connection string for Redis: `host:port[,host:port...][,name=value...]`.

A text is taken as it is, also one of digits, or between double quotes as JSON, in which a comma is `\\u002c`. The
jobs and Feast's clients read the same string by the same rules (`jobs/redis_address.py`).
"""

import ipaddress
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from api.settings import PREFIX, SettingsError

_SETTING = f"{PREFIX}REDIS_CONNECTION_STRING"
_NODE = re.compile(r"(?:\[([^][]+)\]|([\w.-]+)):([0-9]{1,5})")
_TEXTS = {
    "username", "password", "client_name", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs",
    "sentinel_username", "sentinel_password",
}  # fmt: skip
_FLAGS = {"ssl", "ssl_check_hostname", "sentinel_ssl"}
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
_KNOWN = sorted(_TEXTS | _FLAGS | _OVERRULED | {"db"})
_CHECKS = ("none", "optional", "required")
_LOGIN = ("username", "password")


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where Redis is (host, port), the options of its client, and those that are the Sentinels' own."""

    nodes: tuple[tuple[str, int], ...]
    options: dict[str, Any]
    sentinel: dict[str, Any] = field(default_factory=dict)
    """`username` and `password`, where either is given, and `ssl`; what is not here is as in `options`."""


def parse(text: str, **credentials: str) -> RedisAddress:
    """The address that the string gives, with `username` and `password` beside it where they are not empty.

    SettingsError names what is wrong with the string, never the string itself: it holds a password.
    """
    parts = text.rstrip("\r\n").split(",")
    nodes = tuple(_node(part.strip()) for part in parts if "=" not in part)
    if not nodes:
        raise _no_node()
    options: dict[str, Any] = {}
    for name, value in _named(parts):
        if name in options:
            raise SettingsError(f"{_SETTING} gives {name} more than once.")
        options[name] = None if name in _OVERRULED else _option(name, value)
    sentinel = {name.removeprefix("sentinel_"): options.pop(name) for name in list(options) if "sentinel" in name}
    if "username" in sentinel and not sentinel.get("password"):
        raise SettingsError(f"{_SETTING} gives sentinel_username without sentinel_password; give both.")
    options = {name: value for name, value in options.items() if name not in _OVERRULED and value != ""}
    return RedisAddress(nodes, options | _agreeing(credentials, options), sentinel)


def sentinel_options(address: RedisAddress) -> list[dict[str, Any]]:
    """The options of connections to the Sentinels, of which one is let in.

    That is the servers' TLS and credentials, unless the address gives the Sentinels' own. Sentinels without a password
    refuse credentials that were not meant for them, so they are asked without as well.
    """
    servers = address.options
    common = {name: value for name, value in servers.items() if name not in {*_LOGIN, "db", "client_name"}}
    common["ssl"] = address.sentinel.get("ssl", servers.get("ssl", False))
    if "password" in address.sentinel:
        logins = [_login(address.sentinel)]
    else:
        logins = [_login(servers), {}] if _login(servers) else [{}]
    return [common | login for login in logins]


def _login(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in _LOGIN if options.get(name)}


def _agreeing(credentials: Mapping[str, str], options: Mapping[str, Any]) -> dict[str, str]:
    given = {name: value for name, value in credentials.items() if value}
    for name, value in given.items():
        if options.get(name, value) != value:
            setting = f"{PREFIX}REDIS_{name.upper()}"
            raise SettingsError(f"{setting} and the {name} in {_SETTING} differ; give one of the two.")
    return given


def _named(parts: list[str]) -> Iterator[tuple[str, str]]:
    for name, _, value in (part.partition("=") for part in parts if "=" in part):
        if name.strip() not in _KNOWN:
            raise SettingsError(f"{_SETTING} holds an unknown option; the known ones are {', '.join(_KNOWN)}.")
        yield name.strip(), value


def _node(part: str) -> tuple[str, int]:
    found = _NODE.fullmatch(part)
    if found is None:
        raise _no_node()
    address, name, port = found.groups()
    if not 0 < int(port) < 65536 or not (name or _is_ipv6(address)):
        raise _no_node()
    return name or address, int(port)


def _is_ipv6(address: str) -> bool:
    try:
        return bool(ipaddress.IPv6Address(address))
    except ValueError:
        return False


def _no_node() -> SettingsError:
    return SettingsError(
        f"{_SETTING} must begin with HOST:PORT, with a port from 1 to 65535 and brackets around an IPv6 address, "
        "as in [::1]:6379."
    )


def _option(name: str, value: str) -> Any:
    if name in _TEXTS:
        text = _text(value)
        if name == "ssl_cert_reqs" and text not in _CHECKS:
            raise SettingsError(f"{_SETTING}: {name} must be one of {', '.join(_CHECKS)}.")
        return text
    value = value.strip()
    if name == "db":
        if not (value.isascii() and value.isdecimal()):
            raise SettingsError(f"{_SETTING}: db must be a whole number.")
        return int(value)
    if value not in ("true", "false"):
        raise SettingsError(f"{_SETTING}: {name} must be true or false.")
    return value == "true"


def _text(value: str) -> str:
    if len(value) > 1 and value.startswith('"') and value.endswith('"'):
        try:
            return str(json.loads(value))
        except json.JSONDecodeError:
            return value
    return value
