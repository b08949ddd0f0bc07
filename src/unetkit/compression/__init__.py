"""Smaller models that answer as the larger ones did, each behind a gate."""
