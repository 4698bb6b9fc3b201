"""An honest recurrent-network forecast from any daily price file. The Python API is `stockrnn.recipes`."""

__version__ = "0.1.0"
