"""What an `Idempotency-Key` stands for, and what it was answered."""
