"""The store: owns Postgres. Ingests events, dispatches due work, keeps content, answers reads. Fetches nothing remote."""
