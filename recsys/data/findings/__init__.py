"""What is odd about tables whose rows are good one by one: rules with a name, a severity, counts and examples."""
