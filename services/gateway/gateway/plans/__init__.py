"""What a fetch would meet, without fetching."""
