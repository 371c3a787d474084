"""Work divided into shards: done one after another in this process, or side by side on a cluster's nodes."""
