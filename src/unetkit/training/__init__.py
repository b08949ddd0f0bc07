"""Training: the loop, and what it minimises."""
