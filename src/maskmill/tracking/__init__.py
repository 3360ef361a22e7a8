"""Runs, data sets and lineage in MLflow."""
