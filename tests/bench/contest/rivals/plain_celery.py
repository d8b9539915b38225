"""Plain Celery, as most would write it: a task that GETs with requests and makes one INSERT, each its own commit.

`celery -A plain_celery worker -P prefork|threads|gevent -c N` is the worker; `plain_celery.py FILE` sends a task for each URL
of the file to workers that already run and prints JSON: how many rows there are, and the seconds from the first send to the last.
Sessions and connections are kept for the next task, which is kinder than many are. RIVAL_BROKER, RIVAL_QUEUE and
RIVAL_DATABASE say where.
"""

import json
import os
import sys
import time
from collections import deque
from pathlib import Path

import psycopg
import requests
from celery import Celery

TIMEOUT_SECONDS = 30
ROUND_TIMEOUT_SECONDS = 60
POLL_SECONDS = 0.05
TABLE = """
CREATE TABLE IF NOT EXISTS pages (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, url text NOT NULL, status int NOT NULL, headers jsonb NOT NULL,
    body bytea NOT NULL, fetched_at timestamptz NOT NULL DEFAULT now())
"""
INSERT = "INSERT INTO pages (url, status, headers, body) VALUES (%s, %s, %s, %s)"

app = Celery("plain_celery", broker=os.environ["RIVAL_BROKER"])
app.conf.task_ignore_result = True
app.conf.task_default_queue = os.environ["RIVAL_QUEUE"]
kept: deque[tuple[requests.Session, psycopg.Connection]] = deque()
"""Of tasks that ended, the last first. A greenlet is as short-lived as its task: nothing kept for it would be met again."""


def _open() -> tuple[requests.Session, psycopg.Connection]:
    session = requests.Session()
    session.trust_env = False
    return session, psycopg.connect(os.environ["RIVAL_DATABASE"], autocommit=True)


@app.task
def fetch(url: str) -> None:
    """GET it, and write the row."""
    session, connection = kept.pop() if kept else _open()
    response = session.get(url, timeout=TIMEOUT_SECONDS)
    values = (url, response.status_code, json.dumps(dict(response.headers)), response.content)
    connection.execute(INSERT, values)
    kept.append((session, connection))


def _main(urls: list[str]) -> None:
    with psycopg.connect(os.environ["RIVAL_DATABASE"], autocommit=True) as connection:
        connection.execute(TABLE)
        connection.execute("TRUNCATE pages")
        started = time.perf_counter()
        for url in urls:
            fetch.delay(url)
        rows = 0
        while rows < len(urls) and time.perf_counter() - started < ROUND_TIMEOUT_SECONDS:
            time.sleep(POLL_SECONDS)
            (rows,) = connection.execute("SELECT count(*) FROM pages WHERE status = 200").fetchone() or (0,)
        seconds = time.perf_counter() - started
    print(json.dumps({"fetches": rows, "seconds": seconds}))


if __name__ == "__main__":
    _main(Path(sys.argv[1]).read_text().split())
