"""One thin entry point per stage and command."""
