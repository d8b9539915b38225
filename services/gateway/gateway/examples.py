"""Documents of fetches as the OpenAPI document shows them: one that waits, one that has ended."""

from pydantic import JsonValue

FETCH_ID = "01939a5e-7c2b-7d40-8e7c-2f6b3c1d9a55"
LINKS: JsonValue = {"self": f"/v1/fetches/{FETCH_ID}", "content": f"/v1/fetches/{FETCH_ID}/content"}

QUEUED_FETCH: JsonValue = {
    "id": FETCH_ID,
    "url": "https://example.com/item/7",
    "status": "queued",
    "created_at": "2026-12-24T18:00:00Z",
    "waiting": {"reason": "queue"},
    "labels": ["shop", "run:42"],
    "attrs": {"sku": "A-7"},
    "links": LINKS,
}
SUCCEEDED_FETCH: JsonValue = {
    "id": FETCH_ID,
    "url": "https://example.com/item/7",
    "status": "succeeded",
    "created_at": "2026-12-24T18:00:00Z",
    "finished_at": "2026-12-24T18:00:01.25Z",
    "response": {
        "status": 200,
        "headers": {"content-type": "text/html; charset=utf-8"},
        "media_type": "text/html",
        "charset": "utf-8",
        "size_bytes": 1256,
        "digest": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "final_url": "https://example.com/item/7",
    },
    "attempts": [
        {
            "number": 1,
            "outcome": "fetched",
            "started_at": "2026-12-24T18:00:01Z",
            "finished_at": "2026-12-24T18:00:01.2Z",
            "status": 200,
            "seconds": 0.2,
            "hops": ["https://example.com/item/7"],
        }
    ],
    "served_by": {"kind": "live", "fetch_id": FETCH_ID, "age_seconds": 0.0},
    "labels": ["shop", "run:42"],
    "attrs": {"sku": "A-7"},
    "links": LINKS,
}
FETCH_EXAMPLES: list[JsonValue] = [QUEUED_FETCH, SUCCEEDED_FETCH]
