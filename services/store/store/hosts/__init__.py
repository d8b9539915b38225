"""Hosts and their pace: who sets it, and when the claim may look at a host again."""
