"""Our own pages: they work in a real browser under a strict policy and ask nobody else; no other answer is loosened."""

import hashlib
import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from browser import CHROMIUM, open_page
from gateway_words import assert_problem

STATIC = "services/gateway/gateway/static"
SANDBOX = "sandbox; default-src 'none'; frame-ancestors 'none'"
OPERATIONS = "document.querySelectorAll('.opblock').length"

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: the pages are not tried in a browser")


@pytest.fixture(scope="module")
def vendored(repository: Path) -> dict[str, str]:
    """What others wrote: files with the hashes that we noted."""
    noted = tomllib.loads((repository / STATIC / "vendor/VENDOR.toml").read_text(encoding="utf-8"))["package"]
    assert all(package["name"] and package["version"] and package["licence"] for package in noted)
    return {entry["file"]: entry["sha256"] for package in noted for entry in package["file"]}


def test_vendored_files_are_as_they_were_released(repository: Path, vendored: dict[str, str]) -> None:
    folder = repository / STATIC / "vendor"
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    found.pop("VENDOR.toml")
    assert {name: hashlib.sha256(content).hexdigest() for name, content in found.items()} == vendored
    assert {"LICENSE", "NOTICE"} <= {Path(name).name for name in vendored}


async def test_documentation_is_under_a_strict_policy(gateway: Any) -> None:
    async with httpx2.AsyncClient(base_url=gateway.url) as stranger:
        page = await stranger.get("/docs")
    policy = {part.split()[0]: part.split()[1:] for part in page.headers["content-security-policy"].split("; ")}
    assert policy["default-src"] == ["'none'"] and policy["frame-ancestors"] == ["'none'"] and policy["base-uri"] == ["'none'"]
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == ["'self'"]
    assert page.headers.get_list("content-security-policy") == [page.headers["content-security-policy"]]
    assert page.headers["x-content-type-options"] == "nosniff" and page.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("path", ["/livez", "/openapi.json", "/v1/hosts", "/problems/internal", "/static/pages/docs.js", "/none"])
async def test_everything_else_stays_in_its_sandbox(client: httpx2.AsyncClient, path: str) -> None:
    assert (await client.get(path)).headers.get_list("content-security-policy") == [SANDBOX]


async def test_what_a_page_needs_is_served_as_it_is_and_kept_by_browsers(
    gateway: Any, repository: Path, vendored: dict[str, str]
) -> None:
    async with httpx2.AsyncClient(base_url=gateway.url) as stranger:
        for name, sha256 in vendored.items():
            answer = await stranger.get(f"/static/vendor/{name}")
            assert hashlib.sha256(answer.content).hexdigest() == sha256
            assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        ours = await stranger.get("/static/pages/docs.js")
        again = await stranger.get("/static/pages/docs.js", headers={"If-None-Match": ours.headers["etag"]})
    assert ours.headers["content-type"].startswith("text/javascript") and ours.headers["cache-control"] == "no-cache"
    assert again.status_code == 304


@pytest.mark.parametrize("path", ["vendor", "", "../app.py", "%2e%2e/app.py", "..%2fapp.py", "vendor/%2e%2e/%2e%2e/app.py"])
async def test_nothing_else_is_served(client: httpx2.AsyncClient, path: str) -> None:
    assert_problem(await client.get(f"/static/{path}"), 404, "not-found")


def test_the_wheel_has_every_file(repository: Path, tmp_path: Path) -> None:
    """Built by the backend that builds it for the image, from the package without what earlier builds left behind."""
    source = repository / "services/gateway"
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    folder = _copied(source, tmp_path / "source")
    subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=folder, capture_output=True, check=True, timeout=60)
    (wheel,) = tmp_path.glob("*.whl")
    folders = (source / "gateway/static", source / "gateway/templates")
    files = {str(path.relative_to(source)) for each in folders for path in each.rglob("*") if path.is_file()}
    assert len(files) >= 8
    assert files <= set(zipfile.ZipFile(wheel).namelist())


def _copied(source: Path, target: Path) -> Path:
    """The package's files and its pyproject, in another folder."""
    for path in (source / "gateway").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            file = target / path.relative_to(source)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(path.read_bytes())
    (target / "pyproject.toml").write_bytes((source / "pyproject.toml").read_bytes())
    return target


@needs_chromium
async def test_a_browser_shows_every_operation_and_asks_nobody_else(gateway: Any, repository: Path, tmp_path: Path) -> None:
    document = json.loads((repository / "services/gateway/openapi.json").read_text(encoding="utf-8"))
    expected = sum(len(methods) for methods in document["paths"].values())
    async with open_page(tmp_path) as page:
        await page.open(f"{gateway.url}/docs", until=f"{OPERATIONS} >= {expected}")
        assert await page.value(OPERATIONS) == expected
        await page.value("document.querySelector('.opblock-post .opblock-summary-control').click()")
        await page.wait_for("document.querySelector('.opblock-body .highlight-code, .opblock-body .model-example') != null")
        if folder := os.environ.get("FETCHWORK_PICTURES"):
            await page.picture(Path(folder) / "docs.png")
    assert page.complaints == []
    hosts = {urlsplit(address).netloc for address in page.requests if urlsplit(address).scheme in ("http", "https")}
    assert hosts == {urlsplit(gateway.url).netloc}
    assert any(address.endswith("/openapi.json") for address in page.requests)


@needs_chromium
async def test_a_browser_shows_what_a_problem_means(gateway: Any, tmp_path: Path) -> None:
    async with open_page(tmp_path) as page:
        await page.open(f"{gateway.url}/problems/not-finished", until="document.readyState == 'complete'")
        assert await page.value("document.querySelector('h1').textContent") == "The fetch is not finished"
        assert await page.value("getComputedStyle(document.body).maxWidth") != "none"
        if folder := os.environ.get("FETCHWORK_PICTURES"):
            await page.picture(Path(folder) / "problem.png")
    assert page.complaints == []
