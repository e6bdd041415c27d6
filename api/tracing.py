"""Whether requests become OpenTelemetry traces: where the standard environment names a collector, and only there.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

import os
import re

from api.request_log import RequestLog
from api.settings import SettingsError

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL = "http/protobuf"


def request_log() -> type[RequestLog]:
    """The request log, or the one that makes spans too; SettingsError where that cannot be."""
    endpoint = _first(ENDPOINTS)
    if endpoint is None or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return RequestLog
    if not re.fullmatch(r"https?://[^\s/?#]+[^\s?#]*", os.environ[endpoint]):
        raise SettingsError(f"{endpoint} must be the http:// or https:// address of an OpenTelemetry collector.")
    protocol = _first(PROTOCOLS)
    if protocol is not None and os.environ[protocol] != PROTOCOL:
        raise SettingsError(f"{protocol} must be {PROTOCOL}, the one that the gateway speaks.")
    try:
        from api.spans import Spans
    except ImportError as error:
        raise SettingsError(
            f"{endpoint} is set, and the package of {error.name} is not installed: install the extra `tracing` of "
            "this project, or unset it."
        ) from None
    return Spans


def _first(names: tuple[str, ...]) -> str | None:
    return next((name for name in names if os.environ.get(name)), None)
