"""The dashboards of Fetchwork as programs; `make docs` writes them to deploy/grafana/dashboards."""
