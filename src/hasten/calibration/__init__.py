"""From a user's own measurements to a calibration: readers of what people have, and the fit of a few coefficients."""

from hasten.calibration.calibrate import Calibrated, calibrate
from hasten.calibration.sample import Sample, Step

__all__ = ["Calibrated", "Sample", "Step", "calibrate"]
