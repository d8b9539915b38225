"""The OpenAPI document, and the page that shows it with what the page needs. None of it is part of the API itself."""

from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.staticfiles import StaticFiles

from gateway.openapi.document import openapi_document
from gateway.pages import docs_page

FILES = StaticFiles(directory=Path(__file__).parent.parent / "static", check_dir=False)
VERSIONED = "vendor/"
"""Paths below it name the version of what they lead to, so that it never changes."""
CACHE_SECONDS = 300

router = APIRouter(include_in_schema=False)


@router.get("/openapi.json")
def get_openapi_document(request: Request) -> JSONResponse:
    """The document of this very application. Made once, and outside the event loop."""
    if request.app.openapi_schema is None:
        request.app.openapi_schema = openapi_document(request.app)
    return JSONResponse(request.app.openapi_schema, headers={"Cache-Control": f"public, max-age={CACHE_SECONDS}"})


@router.get("/docs")
async def get_docs() -> HTMLResponse:
    """The interactive documentation."""
    return docs_page()


@router.get("/static/{path:path}")
async def get_static(path: str, request: Request) -> Response:
    """A file of our pages; 404 for anything outside their folder."""
    response = await FILES.get_response(path, request.scope)
    response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if path.startswith(VERSIONED) else "no-cache"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    return response
