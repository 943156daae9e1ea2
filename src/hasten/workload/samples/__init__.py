"""Real traces shipped in the package, small enough to need no download; README.md beside says whence and how."""

from hasten.workload.samples.loading import load_sample, sample_names

__all__ = ["load_sample", "sample_names"]
