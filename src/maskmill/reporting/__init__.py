"""Numbers and pictures to a self-contained report."""
