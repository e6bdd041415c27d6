"""Feast's connection string for Redis: `host:port[,host:port...][,name=value...]`.

A text is taken as it is, also one of digits, or between double quotes as JSON, in which a comma is `\\u002c`. The
gateway reads the same string by the same rules (`api/redis_address.py`).
"""

import ipaddress
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jobs.errors import UsageError

SETTING = "FEATURE_PLATFORM_REDIS_CONNECTION_STRING"
_NODE = re.compile(r"(?:\[([^][]+)\]|([\w.-]+)):([0-9]{1,5})")
# Within a JSON text these may be written as escapes. A comma would end the value for Feast, and what stands in
# feature_store.yaml without quotes ends at " #" and may not hold ": ".
_ESCAPES = {ord(letter): f"\\u{ord(letter):04x}" for letter in ",:#"}
_TEXTS = {
    "username", "password", "client_name", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs",
    "sentinel_username", "sentinel_password",
}  # fmt: skip
_FLAGS = {"ssl", "ssl_check_hostname", "sentinel_ssl", "socket_keepalive"}
_NUMBERS: dict[str, Callable[[str], float]] = {
    "db": int, "max_connections": int, "health_check_interval": int, "socket_timeout": float,
    "socket_connect_timeout": float,
}  # fmt: skip
# redis-py of today requires no full coverage, and tries again after a time-out unless `retry` forbids it.
_OBSOLETE = {"skip_full_coverage_check", "retry_on_timeout"}
_KNOWN = sorted(_TEXTS | _FLAGS | _NUMBERS.keys() | _OBSOLETE | {"retry"})
_CHECKS = ("none", "optional", "required")


@dataclass(frozen=True)
class RedisAddress:
    """Where Redis is (host, port), the options of its client, and those that are the Sentinels' own."""

    nodes: tuple[tuple[str, int], ...]
    options: dict[str, Any]
    sentinel: dict[str, Any]
    """`username` and `password`, where either is given, and `ssl`; what is not here is as in `options`."""


def parse(text: str) -> RedisAddress:
    """The address that the string gives.

    Raises UsageError, which names what is wrong with the string, never the string itself: it holds a password.
    """
    parts = text.rstrip("\r\n").split(",")
    nodes = tuple(_node(part.strip()) for part in parts if "=" not in part)
    if not nodes:
        raise _no_node()
    options: dict[str, Any] = {}
    for name, value in _named(parts):
        if name in options:
            raise UsageError(f"{SETTING} gives {name} more than once")
        options[name] = _option(name, value)
    sentinel = {name.removeprefix("sentinel_"): options.pop(name) for name in list(options) if "sentinel" in name}
    if "username" in sentinel and not sentinel.get("password"):
        raise UsageError(f"{SETTING} gives sentinel_username without sentinel_password; give both")
    options = {name: value for name, value in options.items() if name not in _OBSOLETE and value != ""}
    return RedisAddress(nodes, options, sentinel)


def with_options(text: str, options: Mapping[str, str]) -> str:
    """The connection string `text` with these texts as options; Feast reads every text of it as it is given."""
    parts = text.rstrip("\r\n").split(",")
    values = {name: _option(name, value) for name, value in _named(parts)}
    texts = {name: value for name, value in values.items() if name in _TEXTS and value}
    others = [part for part in parts if part.partition("=")[0].strip() not in texts.keys() | options.keys()]
    return ",".join([*others, *(f"{name}={_quoted(value)}" for name, value in (texts | dict(options)).items())])


def _named(parts: list[str]) -> Iterator[tuple[str, str]]:
    for name, _, value in (part.partition("=") for part in parts if "=" in part):
        if name.strip() not in _KNOWN:
            raise UsageError(f"{SETTING} holds an unknown option; the known ones are {', '.join(_KNOWN)}")
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


def _no_node() -> UsageError:
    return UsageError(
        f"{SETTING} must start with host:port, as in redis:6379,username=jobs,ssl=true, with a port from 1 to 65535 "
        "and brackets around an IPv6 address, as in [::1]:6379"
    )


def _option(name: str, value: str) -> Any:
    if name in _TEXTS:
        text = _text(value)
        if name == "ssl_cert_reqs" and text not in _CHECKS:
            raise UsageError(f"{SETTING}: {name} must be one of {', '.join(_CHECKS)}")
        return text
    value = value.strip()
    if name in _NUMBERS:
        return _number(name, value)
    if name == "retry":
        if value != "null":
            raise UsageError(f"{SETTING}: retry must be null, which means never")
        return None
    if value not in ("true", "false"):
        raise UsageError(f"{SETTING}: {name} must be true or false")
    return value == "true"


def _number(name: str, value: str) -> float | None:
    kind = _NUMBERS[name]
    if value == "null" and name != "db":
        return None
    if not re.fullmatch(r"[0-9]+" if kind is int else r"[0-9]+(\.[0-9]+)?", value, re.ASCII):
        raise UsageError(f"{SETTING}: {name} must be a {'whole ' if kind is int else ''}number")
    return kind(value)


def _quoted(value: str) -> str:
    return json.dumps(value).translate(_ESCAPES)


def _text(value: str) -> str:
    if len(value) > 1 and value.startswith('"') and value.endswith('"'):
        try:
            return str(json.loads(value))
        except json.JSONDecodeError:
            return value
    return value
