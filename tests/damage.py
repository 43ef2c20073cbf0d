"""Changes of the arrays in a file of weights, in place."""

from __future__ import annotations

FIRST = "layers/dense/vars/0"


def replaced(name, make):
    """A change of the weights' file: the thing of that name made anew."""
    def change(file):
        del file[name]
        make(file, name)
    return change
