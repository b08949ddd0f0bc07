"""Inference: prepared samples to labels on the original grid."""
