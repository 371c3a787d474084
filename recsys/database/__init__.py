"""What changes while it runs: events, live items, users' attributes, impressions, who is forgotten, comparisons."""
