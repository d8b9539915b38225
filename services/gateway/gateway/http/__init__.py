"""HTTP itself: limits of bodies and waits, ranges, cursors, the server."""
