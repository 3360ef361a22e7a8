"""Callbacks, resume state and launching."""
