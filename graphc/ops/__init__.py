"""Functions with the names, arguments and results of `keras.ops`. https://keras.io/api/ops/

On values they extend a graph: in layers, losses, metrics and functional models. On arrays, variables, lists and numbers
they compute at once and give NumPy arrays; see `graphc.eager`. They are also reachable by Keras's modules, such as
`ops.numpy.mean` and `ops.nn.relu`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphc.ops import control, core, image, linalg, math, nn, numpy
from graphc.ops.control import *  # noqa: F403
from graphc.ops.core import *  # noqa: F403
from graphc.ops.linalg import *  # noqa: F403
from graphc.ops.math import *  # noqa: F403
from graphc.ops.nn import *  # noqa: F403
from graphc.ops.numpy import *  # noqa: F403

if not TYPE_CHECKING:  # checkers take the names from the imports: not all of them add up lists
    __all__ = ["core", "image", "linalg", "math", "nn", "numpy", *control.__all__, *core.__all__, *linalg.__all__,
               *math.__all__, *nn.__all__, *numpy.__all__]
