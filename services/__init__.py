"""The BentoML service: what callers see, what a worker holds, what stands around every request."""
