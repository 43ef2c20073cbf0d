"""The functions that `keras.ops.numpy` has. https://keras.io/api/ops/numpy/"""

from __future__ import annotations

from graphc.ops import contraction, creation, elementwise, movement, ordering, reductions
from graphc.ops.contraction import *  # noqa: F403
from graphc.ops.creation import *  # noqa: F403
from graphc.ops.elementwise import *  # noqa: F403
from graphc.ops.linalg import slogdet as slogdet
from graphc.ops.movement import *  # noqa: F403
from graphc.ops.ordering import *  # noqa: F403
from graphc.ops.reductions import *  # noqa: F403

__all__ = ["slogdet"]
__all__ += contraction.__all__
__all__ += creation.__all__
__all__ += elementwise.__all__
__all__ += movement.__all__
__all__ += ordering.__all__
__all__ += reductions.__all__
