"""Two more releases under the same Prometheus, busy and well: one beside ours, one of its name elsewhere."""

from tests.rules.rendered import NAMESPACE, RELEASE, rule_file

RELEASES = (("other", NAMESPACE), (RELEASE, "elsewhere"))


def rule_files() -> dict[str, str]:
    """Their rule files."""
    return {f"{release}-{namespace}.yaml": rule_file(release, namespace) for release, namespace in RELEASES}


def series() -> list[dict[str, str]]:
    """What they export: so much traffic that mixed with ours it would hide whatever fails."""
    return [one for release, namespace in RELEASES for one in _series(f"{release}-feature-platform", namespace)]


def _series(name: str, namespace: str) -> list[dict[str, str]]:
    def of(component: str) -> str:
        return f'namespace="{namespace}", job="{name}-{component}-metrics", instance="10.9.9.9:9"'

    read = 'route="/features/{id}", method="GET"'
    duration = "feature_gateway_http_request_duration_seconds"
    always = [
        f"up{{{of('gateway')}}}",
        f"up{{{of('feature-server')}}}",
        f"pg_up{{{of('postgres')}}}",
        f"feature_gateway_online_store_reachable{{{of('gateway')}}}",
        f'kube_namespace_created{{namespace="{namespace}", job="kube-state-metrics"}}',
        f'kube_cronjob_info{{namespace="{namespace}", cronjob="{name}-materialization", job="kube-state-metrics"}}',
    ]
    growing = [
        f'feature_materialization_last_success_timestamp_seconds{{{of("gateway")}, feature_view="usage"}}',
        f'feature_gateway_http_requests_total{{{of("gateway")}, {read}, code="200"}}',
        f"{duration}_count{{{of('gateway')}, {read}}}",
        f'{duration}_bucket{{{of("gateway")}, {read}, le="0.01"}}',
        f'{duration}_bucket{{{of("gateway")}, {read}, le="0.05"}}',
        f'feature_gateway_feature_values_total{{{of("gateway")}, feature_view="usage", status="PRESENT"}}',
    ]
    return [{"series": one, "values": "1x1200"} for one in always] + [
        {"series": one, "values": "0+1000000x1200"} for one in growing
    ]
