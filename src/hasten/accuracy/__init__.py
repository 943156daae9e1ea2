"""How far predictions are from recorded runs of real engines, and which part of the model is to blame."""
