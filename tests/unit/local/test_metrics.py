"""The metrics of `make up`, for Prometheus."""

from prometheus_client.parser import text_string_to_metric_families

from local.metrics import Metrics

SWEPT = (
    '{"_aws":{"Timestamp":1,"CloudWatchMetrics":[{"Namespace":"N","Dimensions":[["service"]],'
    '"Metrics":[{"Name":"loaded","Unit":"Count"},{"Name":"sent_to_acknowledged_seconds","Unit":"Seconds"}]}]},'
    '"service":"local","loaded":[3.0],"sent_to_acknowledged_seconds":[0.02,0.3,700.0]}'
)


def values(metrics: Metrics) -> dict[str, float]:
    """Return each sample by its name and labels, as Prometheus reads them."""
    families = text_string_to_metric_families(metrics.text().decode())
    return {",".join([each.name, *each.labels.values()]): each.value for family in families for each in family.samples}


def test_what_functions_publish_for_cloudwatch_is_read_from_their_log() -> None:
    """A count is a gauge with the last value, a latency a histogram."""
    metrics = Metrics()
    metrics.take("SweeperFunction", SWEPT)
    metrics.take("SweeperFunction", SWEPT.replace("[3.0]", "[5.0]"))

    read = values(metrics)
    assert read["dispatcher_loaded"] == 5
    assert read["dispatcher_sent_to_acknowledged_seconds_count"] == 6
    assert read["dispatcher_sent_to_acknowledged_seconds_bucket,0.5"] == 4


def test_lines_of_the_log_are_counted_by_function_and_level() -> None:
    """A line that only looks like metrics is none, and stops nothing."""
    metrics = Metrics()
    for line in ('{"level":"ERROR","message":"x"}', '{"level":"ERROR"}', "text", '"_aws" text', '{"_aws": 1}'):
        metrics.take("FlushFunction", line)

    assert values(metrics)["dispatcher_log_lines_total,FlushFunction,ERROR"] == 2
