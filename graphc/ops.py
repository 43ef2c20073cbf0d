"""The functions that layers, losses and metrics are built from, named as in `keras.ops`."""

from __future__ import annotations

from graphc.ir.functions import *  # noqa: F403
from graphc.ir.functions import __all__ as __all__
