"""What a notebook calls, exported by ``recsys`` itself: frames in and out, the stages, what is served, adapters."""
