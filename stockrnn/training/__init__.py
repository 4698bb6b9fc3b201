"""Windows → a trained recurrent forecaster."""
