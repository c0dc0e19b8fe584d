"""What one gateway replica counts, as Prometheus text.

Edges are measured by the parts that receive them; their records come back with each answer, so that the
gateway can add them up without ever holding a payload.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from deployments.messages import EdgeRecord

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_EDGE_SECONDS = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)
_METHODS = ("GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH")
_EDGE = ("source", "target", "name")


class GatewayMetrics:
    """Counts on a registry of its own, so that two gateways in one process do not collide."""

    def __init__(self) -> None:
        """Register everything at zero."""
        self._registry = CollectorRegistry()
        labels = ("route", "method", "status")
        self._requests = self._counter("vitron_http_requests", "Requests answered.", labels)
        self._latency = self._histogram(
            "vitron_http_request_seconds", "Time to the end of an answer.", ("route",), _SECONDS
        )
        self._tokens = self._counter("vitron_tokens", "Tokens of the LLM.", ("kind",))
        self._invocations = self._counter(
            "vitron_invocations", "Specialists invoked by the LLM.", ("module", "outcome")
        )
        self._retries = self._counter("vitron_retries", "Attempts repeated after a loss.", ())
        self._edge_bytes = self._counter("vitron_edge_bytes", "Payload carried by an edge.", _EDGE)
        self._edge_sends = self._histogram("vitron_edge_send_seconds", "Time to pack a payload.", _EDGE, _EDGE_SECONDS)
        self._edge_receives = self._histogram(
            "vitron_edge_receive_seconds",
            "Time from packing to opening a payload.",
            _EDGE,
            _EDGE_SECONDS,
        )

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one answered request; `route` is the pattern, never the client's path."""
        known = method if method in _METHODS else "other"  # a client must not make new labels
        self._requests.labels(route, known, str(status)).inc()
        self._latency.labels(route).observe(seconds)

    def edges(self, records: Iterable[EdgeRecord]) -> None:
        """Count crossings."""
        for record in records:
            edge = (record.source, record.target, record.name)
            self._edge_bytes.labels(*edge).inc(record.num_bytes)
            self._edge_sends.labels(*edge).observe(record.send_s)
            self._edge_receives.labels(*edge).observe(record.receive_s)

    def tokens(self, prompt: int, completion: int, cached: int) -> None:
        """Count the tokens of one reply."""
        for kind, count in (("prompt", prompt), ("completion", completion), ("cached", cached)):
            self._tokens.labels(kind).inc(count)

    def invocation(self, module: str, *, failed: bool) -> None:
        """Count one invocation."""
        self._invocations.labels(module, "failed" if failed else "done").inc()

    def retry(self) -> None:
        """Count one repeated attempt."""
        self._retries.inc()

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)

    def _counter(self, name: str, text: str, labels: tuple[str, ...]) -> Counter:
        return Counter(name, text, labels, registry=self._registry)

    def _histogram(self, name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self._registry)
