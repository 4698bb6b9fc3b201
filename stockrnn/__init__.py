"""An honest recurrent-network forecast from any daily price file. The Python API is `stockrnn.recipes`."""

import os

__version__ = "0.1.0"

# From 1.29 on, ONNX Runtime sends what it runs to its maker, by default and from its import on; nothing here talks to a network unasked.
# Source: https://github.com/microsoft/onnxruntime/blob/main/docs/Privacy.md
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
