"""Traces: where they go, and that the gateway may go there."""

from typing import Any

import pytest

from tests.chart.branches import branch


def told(endpoint: str) -> tuple[str | None, list[int]]:
    """The collector that the gateway is told of, and the ports of anywhere that it may talk to."""
    objects = branch("defaults").render({"gateway": {"tracing": {"otlpEndpoint": endpoint}}}).objects
    of_gateway: dict[str, Any] = {
        one["kind"]: one["spec"]
        for one in objects
        if one["kind"] in ("Deployment", "NetworkPolicy") and one["metadata"]["name"].endswith("-gateway")
    }
    [container] = of_gateway["Deployment"]["template"]["spec"]["containers"]
    environment = {variable["name"]: variable.get("value") for variable in container["env"]}
    anywhere = [edge for edge in of_gateway["NetworkPolicy"]["egress"] if "to" not in edge]
    return environment.get("OTEL_EXPORTER_OTLP_ENDPOINT"), [port["port"] for edge in anywhere for port in edge["ports"]]


@pytest.mark.parametrize(
    ("endpoint", "port"),
    [
        ("http://collector.observability:4318", 4318),
        ("http://collector:8080/otlp", 8080),
        ("http://collector/otlp", 80),
        ("https://traces.example", 443),
        ("https://traces.example:8443/", 8443),
    ],
)
def test_the_gateway_is_told_of_the_collector_and_may_talk_to_its_port(endpoint: str, port: int) -> None:
    assert told(endpoint) == (endpoint, [port])


def test_without_a_collector_there_are_no_traces_and_no_way_out() -> None:
    assert told("") == (None, [])
