"""What production loads: the predictor and the registered model."""
