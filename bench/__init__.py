"""Measurements: each module is a suite of its own, run as `python -m bench.NAME`."""
