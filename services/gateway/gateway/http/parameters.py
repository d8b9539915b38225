"""Parameters that several routes take, with what the OpenAPI document says of them."""

from typing import Annotated
from uuid import UUID

from common.contracts.tenants import KeyId as KeyIdForm
from fastapi import Path

FetchId = Annotated[UUID, Path(description="The fetch's `id`, as the answer to its submission told it.")]
KeyId = Annotated[KeyIdForm, Path(description="The key's `id`: the third part of the key itself.")]
BatchId = Annotated[UUID, Path(description="The batch's `id`, as the answer to its submission told it.")]
