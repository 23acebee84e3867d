"""Metrics, and the Prometheus and Grafana files that read them."""
