"""What has changed since a training: traffic, mixes, texts, vectors, answers; each looked at beside its own past."""
