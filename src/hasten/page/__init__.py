"""Runs and plans as pages: one self-contained HTML file, and the local page that plays a run again as knobs move."""
