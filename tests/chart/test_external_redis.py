"""A Redis that is there already, whatever its address."""

import pytest

from tests.chart.branches import branch
from tests.chart.manifests import Manifest


def _redis_clients(connection: str, kind: str = "redis") -> tuple[Manifest, set[str]]:
    """The way out to Redis, and where its clients are told that it is."""
    values = {"externalRedis": {"connectionString": connection, "type": kind}}
    objects = branch("external-stores-tls").render(values).objects
    [policy] = [one for one in objects if one["metadata"]["name"].endswith("-redis-clients")]
    pods = [one["spec"]["template"]["spec"] for one in objects if one["kind"] == "Deployment"]
    settings = [one for pod in pods for container in pod["containers"] for one in container.get("env", [])]
    told = {one["value"] for one in settings if one["name"] == "FEATURE_PLATFORM_REDIS_CONNECTION_STRING"}
    return policy["spec"]["egress"][0], told


@pytest.mark.parametrize(
    ("connection", "port"),
    [
        ("redis.example:6380,db=2", 6380),
        ("[fd00::1]:6379", 6379),
        ("[fd00::1:12]:6380,db=2", 6380),
        ("[::ffff:10.0.0.1]:6381", 6381),
    ],
)
def test_the_way_to_it_is_open_at_its_port_also_behind_an_ipv6_address(connection: str, port: int) -> None:
    egress, told = _redis_clients(connection)
    assert [rule["port"] for rule in egress["ports"]] == [port]
    assert told
    assert all(address.startswith(f"{connection},ssl=true") for address in told)


def test_its_sentinels_may_be_without_tls() -> None:
    connection = "[fd00::1]:26379,[fd00::2]:26379,sentinel_ssl=false"
    assert all(
        address.startswith(f"{connection},ssl=true") for address in _redis_clients(connection, "redis_sentinel")[1]
    )
