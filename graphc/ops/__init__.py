"""Functions with the names, arguments and results of `keras.ops`. https://keras.io/api/ops/

On values they extend a graph: in layers, losses, metrics and functional models. On arrays, variables, lists and numbers
they compute at once and give NumPy arrays; see `graphc.eager`. They are also reachable by Keras's modules, such as
`ops.numpy.mean` and `ops.nn.relu`.
"""

from __future__ import annotations

from graphc.ops import control, core, linalg, math, nn, numpy
from graphc.ops import image as image
from graphc.ops.control import *  # noqa: F403
from graphc.ops.core import *  # noqa: F403
from graphc.ops.linalg import *  # noqa: F403
from graphc.ops.math import *  # noqa: F403
from graphc.ops.movement import unstack as unstack
from graphc.ops.nn import *  # noqa: F403
from graphc.ops.numpy import *  # noqa: F403

__all__ = sorted({"core", "image", "linalg", "math", "nn", "numpy", "unstack", *control.__all__, *core.__all__,
                  *linalg.__all__, *math.__all__, *nn.__all__, *numpy.__all__} - {"segments"})
