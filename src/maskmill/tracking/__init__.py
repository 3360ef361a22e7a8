"""Runs, data sets, lineage and model versions in MLflow."""
