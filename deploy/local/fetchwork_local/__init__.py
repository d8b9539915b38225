"""The embedded stack behind `fetchwork up`: real Postgres, two Redis-compatible servers and the services, as plain processes."""
