"""Planning: what the data is, and what to do about it."""
