"""What /metrics shows, in Prometheus' text form.

The front alone counts: it sees every request and every batch, whichever process predicts it.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "maskmill_requests",
            "requests for predictions, by the status of their answer",
            ["status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "maskmill_request_seconds",
            "from the first byte of a request to its answer",
            buckets=SECONDS,
            registry=self.registry,
        )
        self.batch_size = Histogram(
            "maskmill_batch_size", "images per batch", buckets=SIZES, registry=self.registry
        )
        self.queue = Gauge(
            "maskmill_queue_length", "requests that wait for a worker", registry=self.registry
        )
        self.workers = Gauge(
            "maskmill_workers_ready", "workers with a loaded model", registry=self.registry
        )
        self.restarts = Gauge(
            "maskmill_worker_restarts",
            "workers of the present version that ended and were restarted",
            registry=self.registry,
        )
        self.model = Gauge(
            "maskmill_model_info",
            "1 for the model that is served",
            ["name", "fingerprint"],
            registry=self.registry,
        )

    def text(
        self, *, queue: int, workers: int, restarts: int, model: str, fingerprint: str
    ) -> bytes:
        """The page, with the present values of the gauges."""
        self.queue.set(queue)
        self.workers.set(workers)
        self.restarts.set(restarts)
        self.model.clear()
        self.model.labels(model, fingerprint).set(1)
        return generate_latest(self.registry)
