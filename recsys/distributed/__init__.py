"""Work that is divided into shards: done one after another in this process, or side by side on the nodes of a cluster."""
