"""What one worker holds: the generation that answers, encoders, live items, users, the shadow."""
