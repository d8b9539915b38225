"""Our Lua scripts, each with the functions of `records.lua` in front of it."""

from importlib.resources import files

from redis.asyncio import Redis
from redis.commands.core import AsyncScript


def load_script(redis: Redis, name: str) -> AsyncScript:
    """The script `<name>.lua` of this package, ready to be called on that connection."""
    folder = files("gateway.scripts")
    text = (folder.joinpath(f"{part}.lua").read_text(encoding="utf-8") for part in ("records", name))
    return redis.register_script("\n".join(text))
