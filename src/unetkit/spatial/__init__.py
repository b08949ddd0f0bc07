"""Geometry and layers: the only folder that knows 2 from 3."""
