"""All dashboards, in the order in which somebody on call reads them."""

from dashboards import api, hosts, overview, pipeline, store, workers

PAGES = (overview.PAGE, api.PAGE, pipeline.PAGE, hosts.PAGE, store.PAGE, workers.PAGE)
