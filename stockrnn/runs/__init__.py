"""The run directory, and forecasts without TensorFlow."""
