"""The dashboards of the chart, written by Grafana's own library: `make dashboards`."""
