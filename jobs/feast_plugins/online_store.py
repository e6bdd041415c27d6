"""Feast's online store on Redis, reached where our settings say, by the rules of the jobs and the gateway.

In `feature_store.yaml`:

    online_store:
      type: jobs.feast_plugins.online_store.PlatformRedisOnlineStore

Feast's own cannot name an IPv6 address, reads a password `1e5` as a number, and gives Sentinels no password
and no TLS. What it writes and reads is unchanged. Feast's `client: glide` would connect by rules of its own, and is
refused.
"""

from typing import Final, Literal, cast

import redis.asyncio
from feast.infra.online_stores.redis import RedisClient, RedisOnlineStore, RedisOnlineStoreConfig, RedisType
from pydantic import Field, StrictStr

from jobs.online.store import Client, connect, connect_asynchronous
from jobs.settings import RedisSettings, load

TYPE: Final = "jobs.feast_plugins.online_store.PlatformRedisOnlineStore"


class PlatformRedisOnlineStoreConfig(RedisOnlineStoreConfig):
    """Feast's settings; where they do not say which Redis, the settings FEATURE_PLATFORM_REDIS_* do."""

    type: Literal["jobs.feast_plugins.online_store.PlatformRedisOnlineStore"] = TYPE  # type: ignore[assignment]
    client: Literal[RedisClient.redis] = RedisClient.redis
    redis_type: RedisType = Field(default_factory=lambda: RedisType(load(RedisSettings).redis_type))
    sentinel_master: StrictStr = Field(default_factory=lambda: load(RedisSettings).redis_sentinel_master)
    connection_string: StrictStr = Field(default_factory=lambda: load(RedisSettings).redis_address, repr=False)


class PlatformRedisOnlineStore(RedisOnlineStore):
    """Feast's online store over our clients."""

    def _get_client(self, online_store_config: RedisOnlineStoreConfig) -> Client:
        if self._client is None:
            self._client = connect(redis_settings(online_store_config))
        return cast(Client, self._client)

    async def _get_client_async(self, online_store_config: RedisOnlineStoreConfig) -> redis.asyncio.Redis:
        if self._client_async is None:
            self._client_async = connect_asynchronous(redis_settings(online_store_config))
        return cast(redis.asyncio.Redis, self._client_async)


def redis_settings(online: RedisOnlineStoreConfig) -> RedisSettings:
    """Where Redis is by Feast's configuration. Raises UsageError for what cannot be understood."""
    return load(
        RedisSettings,
        redis_connection_string=online.connection_string,
        redis_type=online.redis_type.value,
        redis_sentinel_master=online.sentinel_master,
    )
