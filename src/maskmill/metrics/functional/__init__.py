"""The pure functions behind the metric classes, in NumPy."""
