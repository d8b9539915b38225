"""Our Lua scripts, which the events Redis runs."""
