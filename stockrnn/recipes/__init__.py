"""One function for each command: the Python API. Nothing is printed here: results are returned, progress goes to a callback."""

from stockrnn.recipes.assembly import Trained
from stockrnn.recipes.drawing import inspection_pictures, plot
from stockrnn.recipes.prediction import Predicted, predict
from stockrnn.recipes.training import train

__all__ = ["Predicted", "Trained", "inspection_pictures", "plot", "predict", "train"]
