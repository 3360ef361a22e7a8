"""Canonical folders to batches."""
