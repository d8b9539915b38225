"""The calling key: what the key of this request is and may do, for whoever has it."""

from fastapi import APIRouter, Response

from gateway.access.key_models import CallingKeyDocument
from gateway.dependencies import UsePrincipal
from gateway.http.answers import answer
from gateway.openapi.responses import response

router = APIRouter(prefix="/v1/key", tags=["keys"])


@router.get(
    "", operation_id="getCallingKey", response_model=CallingKeyDocument, responses=response(200, "The key of this request.")
)
async def get_calling_key(principal: UsePrincipal) -> Response:
    """The key that this request came with: tenant, scopes, limits and expiry. Any scope will do."""
    return answer(CallingKeyDocument.of(principal), headers={"Cache-Control": "no-store"})
