"""One metric of one service, read as Prometheus would."""

import asyncio

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from harness.cluster import Cluster

LOOK_SECONDS = 0.1


async def metric(cluster: Cluster, service: str, name: str, **labels: str) -> float:
    """The sum of the series of that name that carry these labels, whatever else they carry."""
    families = text_string_to_metric_families(await cluster.metrics(service))
    samples = (sample for family in families for sample in family.samples if sample.name == name)
    return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


async def wait_metric(cluster: Cluster, service: str, name: str, **labels: str) -> float:
    """What it is, once it is above 0; for ever, so put a time limit around it. A service that does not answer is waited for."""
    while True:
        try:
            if value := await metric(cluster, service, name, **labels):
                return value
        except (aiohttp.ClientError, TimeoutError):
            pass
        await asyncio.sleep(LOOK_SECONDS)
