"""What stands around every request: keys, problems, lanes, logs, traces, metrics."""
