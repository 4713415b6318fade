"""The metrics of a run on one machine, for Prometheus: what the functions publish for CloudWatch, at /metrics."""

import json
import re
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

PATH = "/metrics"
CONTENT_TYPE = CONTENT_TYPE_LATEST
BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_LEVEL = re.compile(r'"level":"([A-Z]+)"')


class Metrics:
    """Reads the functions' log: lines of the embedded metric format set the metrics, other lines are counted by level."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._lines = Counter(
            "dispatcher_log_lines", "Lines of the functions' log", ["function", "level"], registry=self._registry
        )
        self._counters: dict[tuple[str, str], Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}

    def take(self, function: str, line: str) -> None:
        """Take one line of a function's log."""
        if '"_aws"' in line:
            self._read(line)
        elif level := _LEVEL.search(line):
            labels = (function, level[1])
            if labels not in self._counters:
                self._counters[labels] = self._lines.labels(*labels)
            self._counters[labels].inc()

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self._registry)

    def _read(self, line: str) -> None:
        try:
            document: dict[str, Any] = json.loads(line)
            declared = document["_aws"]["CloudWatchMetrics"][0]["Metrics"]
            values: dict[str, list[float]] = {name: _numbers(document[name]) for name in (m["Name"] for m in declared)}
        except (ValueError, LookupError, TypeError):
            return  # a line that only looks like one
        for name, numbers in values.items():
            if name.endswith("_seconds") and "_to_" in name:
                for number in numbers:
                    self._histogram(name).observe(number)
            elif numbers:
                self._gauge(name).set(numbers[-1])

    def _gauge(self, name: str) -> Gauge:
        if name not in self._gauges:
            text = f"{name.replace('_', ' ')}, as last published"
            self._gauges[name] = Gauge(f"dispatcher_{name}", text, registry=self._registry)
        return self._gauges[name]

    def _histogram(self, name: str) -> Histogram:
        if name not in self._histograms:
            text = f"{name.replace('_', ' ')}, of a sample of commands"
            self._histograms[name] = Histogram(f"dispatcher_{name}", text, buckets=BUCKETS, registry=self._registry)
        return self._histograms[name]


def _numbers(value: float | list[float]) -> list[float]:
    """Return the values of a metric, of which a line has one or a list."""
    return [float(each) for each in (value if isinstance(value, list) else [value])]
