"""Each finished request as a span, sent to a collector in batches by a thread of OpenTelemetry's SDK.

Imported only where `api.tracing` finds a collector. Names and attributes are those of the semantic conventions for HTTP
(https://opentelemetry.io/docs/specs/semconv/http/http-spans/) but for `url.path`: it holds the id of a customer.
"""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)

from api import VERSION, trace_context
from api.metrics import CLIENT_CLOSED_REQUEST, METHODS
from api.request_log import RequestLog
from api.routes import UNMATCHED
from api.trace_context import Call, Trace

SERVICE = "feature-gateway"
# A pod that ends has answered its last request by then, and Kubernetes' patience with it is nearly over.
FLUSH_SECONDS = 2.0
# Every span says itself what it belongs to.
_NOTHING = Context()


class SpanTrace(Trace):
    """A request that is a span; its names and whether it is sampled are the span's."""

    span: Span
    tracer: Tracer

    @contextmanager
    def call(self, url: str) -> Iterator[Call]:
        """A POST to this address on behalf of the request, as a span below its own."""
        span = self.tracer.start_span(
            f"POST {urlsplit(url).path}", set_span_in_context(self.span, _NOTHING), SpanKind.CLIENT, _of_address(url)
        )
        call = Call(_trace(span, self.tracer).header)
        try:
            yield call
        except Exception as error:
            _fail(span, type(error).__qualname__)
            raise
        finally:
            if call.code is not None:
                _answered(span, call.code, failed_from=400)
            span.end()


class Spans(RequestLog):
    """A log whose requests are spans too."""

    def __init__(self, every: bool, slow_seconds: float) -> None:
        super().__init__(every, slow_seconds)
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("api", VERSION)

    def begin(self, headers: Sequence[tuple[bytes, bytes]]) -> Trace:
        """The trace of a request that has come, as a span that begins now, below the caller's."""
        sent, parent = trace_context.sent(headers), _NOTHING
        if sent is not None:
            trace_id, span_id, flags = (int(sent[group], 16) for group in (1, 2, 3))
            caller = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
            parent = set_span_in_context(NonRecordingSpan(caller), parent)
        return _trace(self._tracer.start_span("HTTP", parent, SpanKind.SERVER), self._tracer)

    def note(self, trace: Trace, route: str, method: str, code: int, seconds: float) -> None:
        """An answered request: the log's line, if it is worth one, and the end of its span."""
        super().note(trace, route, method, code, seconds)
        assert isinstance(trace, SpanTrace)
        span, known = trace.span, method in METHODS
        if not span.is_recording():
            return
        name = method if known else "HTTP"
        span.set_attribute("http.request.method", method if known else "_OTHER")
        if route == UNMATCHED:
            span.update_name(name)
        else:
            span.update_name(f"{name} {route}")
            span.set_attribute("http.route", route)
        if code != CLIENT_CLOSED_REQUEST:
            _answered(span, code, failed_from=500)
        span.end()

    async def close(self) -> None:
        """Send what is waiting; a collector that does not take it in time has lost it."""
        # The SDK would wait for half a minute, and Python for every thread that is no daemon.
        flush = threading.Thread(target=self._provider.shutdown, daemon=True)
        flush.start()
        await asyncio.to_thread(flush.join, FLUSH_SECONDS)


def _resource() -> Resource:
    found = Resource.create({SERVICE_VERSION: VERSION})
    is_named = not str(found.attributes[SERVICE_NAME]).startswith("unknown_service")
    return found if is_named else found.merge(Resource({SERVICE_NAME: SERVICE}))


def _trace(span: Span, tracer: Tracer) -> SpanTrace:
    names = span.get_span_context()
    trace = SpanTrace(b"%032x" % names.trace_id, b"%016x" % names.span_id, b"%02x" % names.trace_flags)
    trace.span, trace.tracer = span, tracer
    return trace


def _of_address(url: str) -> dict[str, str | int]:
    address = urlsplit(url)
    attributes: dict[str, str | int] = {
        "http.request.method": "POST",
        "server.address": address.hostname or "",
        "server.port": address.port or (443 if address.scheme == "https" else 80),
        "url.full": address._replace(netloc=address.netloc.rpartition("@")[2]).geturl(),
    }
    return attributes


def _answered(span: Span, code: int, *, failed_from: int) -> None:
    span.set_attribute("http.response.status_code", code)
    if code >= failed_from:
        _fail(span, str(code))


def _fail(span: Span, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)
