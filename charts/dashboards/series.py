"""Which series belong to the release that a dashboard shows, and what is asked of them more than once."""


def of(part: str) -> str:
    """The labels of the series that the release's pods of this part export."""
    return f'namespace="$namespace",job="${{release}}-{part}-metrics"'


GATEWAY, FEATURE_SERVER, POSTGRES, REDIS = map(of, ("gateway", "feature-server", "postgres", "redis"))
# What callers ask for; the kubelet's probes are not among it.
CALLS = f'{GATEWAY},route!~"/livez|/readyz|/health"'
# The calls that read features: one entity, many, Feast's protocol.
READS = f'{GATEWAY},route=~"/features.*|/get-online-features"'
ONE_ENTITY = f'{GATEWAY},route="/features/{{id}}",method="GET"'
REQUESTS = "feature_gateway_http_requests_total"
DURATION = "feature_gateway_http_request_duration_seconds"
WINDOW = "$__rate_interval"
RANGE = "$__range"


def rate(metric: str, labels: str, by: str = "", window: str = WINDOW) -> str:
    """How much a counter grows in a second, over all pods, or `by` labels."""
    return f"sum{_by(by)}(rate({metric}{{{labels}}}[{window}]))"


def grown(metric: str, labels: str, by: str = "") -> str:
    """How much a counter grew in the time range, over all pods, or `by` labels."""
    return f"sum{_by(by)}(increase({metric}{{{labels}}}[{RANGE}]))"


def quantile(share: float, metric: str, labels: str, by: str = "") -> str:
    """What this share of a histogram's durations stays below."""
    return f"histogram_quantile({share}, {rate(f'{metric}_bucket', labels, f'{by}, le' if by else 'le')})"


def newest(metric: str, labels: str, by: str = "") -> str:
    """A gauge of which each pod tells the same, or the newest it has heard."""
    return f"max{_by(by)}({metric}{{{labels}}})"


def _by(labels: str) -> str:
    return f" by ({labels}) " if labels else ""
