"""Metrics: how good a prediction is, with one convention for missed and empty objects."""
