"""Benchmarks: sides that do the same work, measured in turn, with one file per suite.

Nothing is imported here, because PyTorch's processes must not import JAX.
"""
