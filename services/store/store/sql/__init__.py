"""SQL as files: the schema, its migrations, and the named statements of each table."""
