"""Who may ask, and how often: API keys, tickets, quotas."""
