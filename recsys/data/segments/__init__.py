"""The events of a large snapshot in segments, each a file that other snapshots share: what they are depends on content
alone, so that the same events in any order, in any number of runs, give the same files and the same hashes."""
