"""The form of API keys: `ftch_<environment>_<id>_<secret><checksum>`. Makes and reads them; which are good others know.

The prefix makes leaked keys findable, the checksum discards what was mistyped before anybody is asked.
"""

import base64
import hashlib
import re
import secrets
import string
import zlib
from dataclasses import dataclass, field

from common.contracts.keys import KEY_FORM

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
ID_CHARACTERS = 12
SECRET_BYTES = 32
CHECKSUM_CHARACTERS = 6
"""Six digits of base62 hold the 32 bits of a CRC."""
FORM = re.compile(rf"\A{KEY_FORM}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A well-formed key: its id, which may be told, and the digest of the whole of it."""

    id: str
    text: str = field(repr=False)

    @property
    def digest(self) -> str:
        """SHA-256 of the whole key, in hexadecimal: all that anybody keeps. For 256 random bits nothing slower is needed."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def new_key_id() -> str:
    """A new id of 71 random bits."""
    return "".join(secrets.choice(BASE62) for _ in range(ID_CHARACTERS))


def new_secret() -> bytes:
    """What nobody can guess: 256 random bits."""
    return secrets.token_bytes(SECRET_BYTES)


def make_key(key_id: str, secret: bytes, *, environment: str) -> ApiKey:
    """The key of that id with that secret. Pure; raises ValueError for what no key can hold."""
    encoded = base64.urlsafe_b64encode(secret).decode().rstrip("=")
    body = f"ftch_{environment}_{key_id}_{encoded}"
    key = read_key(body + _checksum(body))
    if key is None:
        raise ValueError("this environment, id or secret does not fit into a key")
    return key


def read_key(text: str) -> ApiKey | None:
    """The key, or None for what is no key of ours or was mistyped. Pure; asks nobody."""
    if not FORM.match(text):
        return None
    body, checksum = text[:-CHECKSUM_CHARACTERS], text[-CHECKSUM_CHARACTERS:]
    return ApiKey(id=text.split("_", 3)[2], text=text) if checksum == _checksum(body) else None


def _checksum(body: str) -> str:
    rest, digits = zlib.crc32(body.encode()), ""
    for _ in range(CHECKSUM_CHARACTERS):
        rest, digit = divmod(rest, len(BASE62))
        digits = BASE62[digit] + digits
    return digits
