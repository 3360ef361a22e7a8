"""Segments against segments: exact numbers."""
