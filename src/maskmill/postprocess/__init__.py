"""Network outputs to segments."""
