"""Benchmarks: programs that do the same work, measured in turn, one file a suite.

Nothing is imported here, for the processes of PyTorch's programs must not import JAX.
"""
