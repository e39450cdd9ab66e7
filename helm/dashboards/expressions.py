"""What is asked of Prometheus again and again."""

from __future__ import annotations

from helm.dashboards.panels import Line

ALL = 'namespace=~"$namespace"'
ONE = 'namespace="$namespace", name="$name"'
BY = "by (namespace, name)"


def quantile(share: float, histogram: str, of: str, by: str = "le") -> str:
    """The expression of a quantile over all series of a histogram."""
    return f"histogram_quantile({share}, sum by ({by}) (rate({histogram}_bucket{{{of}}}[$__rate_interval])))"


def quantiles(histogram: str, of: str) -> tuple[Line, ...]:
    """The median, and what one in 20 and one in 100 take."""
    return tuple(Line(quantile(share, histogram, of), f"p{share * 100:.0f}") for share in (0.5, 0.95, 0.99))


def rate(metric: str, of: str, by: str) -> str:
    """The expression of what a counter grows by, a second."""
    return f"sum by ({by}) (rate({metric}{{{of}}}[$__rate_interval]))"


def most(metric: str, of: str = ALL) -> str:
    """Of several operators the one that knows."""
    return f"max {BY} ({metric}{{{of}}})"
