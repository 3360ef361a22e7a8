"""Raw data sets to the canonical format: one file per layout."""
