"""Two folders to an analysis: per-image counts, intervals, slices, comparisons."""
