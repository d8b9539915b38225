"""The two doors of the ledger, accept and record, the lifecycle between them, and the reads."""
