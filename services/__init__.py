"""The BentoML service: what callers see, what a worker holds, what stands around every request."""

import recsys  # noqa: F401 - before BentoML is: it turns off what BentoML would report
