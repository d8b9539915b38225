"""Parameters that several routes take, with what the OpenAPI document says of them."""

from typing import Annotated
from uuid import UUID

from fastapi import Path

FetchId = Annotated[UUID, Path(description="The fetch's `id`, as the answer to its submission told it.")]
BatchId = Annotated[UUID, Path(description="The batch's `id`, as the answer to its submission told it.")]
