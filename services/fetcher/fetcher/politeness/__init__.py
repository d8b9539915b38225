"""What we owe the hosts that we fetch from: today their robots.txt; their pace comes with host pacing."""
