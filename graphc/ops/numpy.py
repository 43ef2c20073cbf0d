"""The functions that `keras.ops.numpy` has. https://keras.io/api/ops/numpy/"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphc.ops import contraction, creation, elementwise, movement, ordering, reductions
from graphc.ops.contraction import *  # noqa: F403
from graphc.ops.creation import *  # noqa: F403
from graphc.ops.elementwise import *  # noqa: F403
from graphc.ops.linalg import slogdet as slogdet
from graphc.ops.movement import *  # noqa: F403
from graphc.ops.ordering import *  # noqa: F403
from graphc.ops.reductions import *  # noqa: F403

if not TYPE_CHECKING:  # checkers take the names from the imports: not all of them add up lists
    __all__ = ["slogdet", *contraction.__all__, *creation.__all__, *elementwise.__all__, *movement.__all__,
               *ordering.__all__, *reductions.__all__]
