"""The formats in which predictions are written, a file for each."""
