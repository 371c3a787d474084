"""By what a measurement is summed up: our whole system, the figure that matters most, the file. It imports nothing."""

OURS = "recsys"  # the whole system; its ablations are called recsys.<part>
HEADLINE = "ndcg@10"
METRICS_FILE = "metrics.json"
