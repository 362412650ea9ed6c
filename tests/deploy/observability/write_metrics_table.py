"""Writes docs/metrics.md: `make metrics`."""

from deploy.observability.generator.metrics_table import Row, render
from tests.deploy.observability.catalogue import REPOSITORY, declared_metrics


def table() -> str:
    """Return the document for what the code declares."""
    return render(
        Row(metric.name, metric.kind, metric.labels, metric.meaning, metric.module)
        for metric in declared_metrics().values()
    )


if __name__ == "__main__":
    (REPOSITORY / "docs" / "metrics.md").write_text(table(), encoding="utf-8")
