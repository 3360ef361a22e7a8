"""Configuration to objects and jobs: what the entry points in `stages` call."""
