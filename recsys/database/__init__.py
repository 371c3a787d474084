"""What changes while the service runs: events, live items, impressions, who is forgotten, and comparisons."""
