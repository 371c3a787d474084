"""From a snapshot to a trained system: adapter, experts, towers and blend, their baselines and their tuning."""
