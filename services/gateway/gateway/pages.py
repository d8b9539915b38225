"""Pages for people: HTML under a policy that lets in nothing but our own files."""

import json
import re
from html import escape
from string import Template

from fastapi.responses import HTMLResponse

from gateway.problems.documents import example_of
from gateway.problems.types import REGISTRY, ProblemType, reference

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""Instead of the sandbox that every other answer is in. `data:` is for the small pictures in Swagger UI's own style sheet."""
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
SWAGGER_UI = "/static/vendor/swagger-ui-5.35.0"
CODE = re.compile("`([^`]+)`")

PAGE = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<link rel="icon" href="/static/pages/icon.svg">
$head
</head>
<body>
$body
</body>
</html>
""")
DOCS_HEAD = f"""\
<link rel="stylesheet" href="{SWAGGER_UI}/swagger-ui.css">
<script src="{SWAGGER_UI}/swagger-ui-bundle.js" defer></script>
<script src="/static/pages/docs.js" defer></script>"""
DOCS_BODY = """\
<noscript>This page shows <a href="/openapi.json">the OpenAPI document</a> and needs scripts for it.</noscript>
<main id="operations"></main>"""
PROBLEMS_HEAD = '<link rel="stylesheet" href="/static/pages/pages.css">'


def docs_page() -> HTMLResponse:
    """The interactive documentation: Swagger UI over our OpenAPI document."""
    return _page("Fetchwork API", DOCS_HEAD, DOCS_BODY)


def problems_page() -> HTMLResponse:
    """The index of all problem types."""
    rows = [
        f'<tr><td>{kind.status}</td><td><a href="{reference(type)}">{type}</a></td><td>{escape(kind.title)}</td></tr>'
        for type, kind in REGISTRY.items()
    ]
    head = "<thead><tr><th>Status</th><th>Type</th><th>Title</th></tr></thead>"
    body = f"<main>\n<h1>Problems</h1>\n<table>{head}\n<tbody>\n" + "\n".join(rows) + "\n</tbody></table>\n</main>"
    return _page("Problems", PROBLEMS_HEAD, body)


def problem_page(type: ProblemType) -> HTMLResponse:
    """What one problem type means, what to do about it, and an example."""
    kind = REGISTRY[type]
    again = "The same request may succeed later." if kind.retry_after_seconds is not None else "The same request will fail again."
    remedy = CODE.sub(r"<code>\1</code>", escape(kind.remedy))
    body = f"""\
<main>
<p><a href="/problems">Problems</a> · <code>{type}</code></p>
<h1>{escape(kind.title)}</h1>
<p>Status {kind.status}. {again}</p>
<h2>What to do</h2>
<p>{remedy}</p>
<h2>Example</h2>
<pre>{escape(json.dumps(example_of(type), indent=2))}</pre>
</main>"""
    return _page(kind.title, PROBLEMS_HEAD, body)


def _page(title: str, head: str, body: str) -> HTMLResponse:
    text = PAGE.substitute(title=escape(title), head=head, body=body)
    return HTMLResponse(text, headers=HEADERS | {"Cache-Control": "no-cache"})
