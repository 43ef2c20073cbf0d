"""Targets: what compiles or interprets loops. Only this folder imports llvmlite."""
