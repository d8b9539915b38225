"""Digests between their two spellings: `sha256:<hex>` on the wire, 32 bytes in Postgres."""

PREFIX = "sha256:"


def digest_bytes(text: str) -> bytes:
    """The 32 bytes of a `sha256:<hex>` digest. Raises ValueError when it is none."""
    if not text.startswith(PREFIX) or len(text) != len(PREFIX) + 64:
        raise ValueError("a digest is sha256: and 64 hexadecimal digits")
    return bytes.fromhex(text.removeprefix(PREFIX))


def digest_text(digest: bytes) -> str:
    """The `sha256:<hex>` form of a digest's bytes."""
    return PREFIX + digest.hex()
