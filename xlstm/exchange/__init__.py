"""Layers from other libraries and to them: one file a format."""
