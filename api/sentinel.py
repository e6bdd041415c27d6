"""Where the master is, by the Sentinels that watch it (https://redis.io/docs/latest/develop/reference/sentinel-clients/)."""

from ssl import SSLContext
from typing import Any

from api.link import Locate, greeting, tls
from api.redis_address import RedisAddress, sentinel_options
from api.redis_connection import ConnectionLost, ask_once, command
from api.shared_call import first

QUESTION = command("SENTINEL", "MASTERS")
_DOWN = {b"s_down", b"o_down"}


def by_sentinel(address: RedisAddress, master: str) -> Locate:
    """Asks the Sentinels each time, all at once: after a failover another server is the master.

    So a Sentinel that is away, or hangs, keeps nobody from what the others know.
    """

    ways = [(tls(options), greeting(options)) for options in sentinel_options(address)]

    async def ask(node: tuple[str, int], security: SSLContext | None, login: list[bytes]) -> tuple[str, int]:
        return _address(await ask_once(*node, security, login, QUESTION), master)

    async def locate() -> tuple[str, int]:
        return await first(ask(node, *way) for way in ways for node in address.nodes)

    return locate


def _address(masters: Any, name: str) -> tuple[str, int]:
    """Of the master of that name, if the Sentinel takes it to be up."""
    for flat in masters:
        master = dict(zip(flat[::2], flat[1::2], strict=True))
        flags = set(master[b"flags"].split(b","))
        if master[b"name"] == name.encode() and b"master" in flags and not flags & _DOWN:
            return master[b"ip"].decode(), int(master[b"port"])
    raise ConnectionLost(f"a Sentinel knows of no master {name!r} that is up")
