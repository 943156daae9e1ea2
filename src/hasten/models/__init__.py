"""Model shapes: what a model holds, reads and computes, from its configuration alone."""

from hasten.models.load import load_model, model_names, shape_from_config
from hasten.models.shape import (
    Attention,
    FeedForward,
    LayerGroup,
    Linear,
    ModelShape,
    Quantisation,
)

__all__ = [
    "Attention",
    "FeedForward",
    "LayerGroup",
    "Linear",
    "ModelShape",
    "Quantisation",
    "load_model",
    "model_names",
    "shape_from_config",
]
