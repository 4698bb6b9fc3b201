"""Forecast tables → scores, tests and verdicts."""
