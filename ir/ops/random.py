"""Counter-based random numbers: pure functions of a key and a position, the same bits on every backend.

Threefry-2x32 with the 20 rounds that its authors advise:
J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import numpy as np

from graphc.ir.errors import DTypeError
from graphc.ir.expr import cast, const, position
from graphc.ir.op import Op
from graphc.ir.types import DTYPES, Shape, TensorType, product

__all__ = ["RandomBits"]

U32 = DTYPES["u32"]
_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
_ROUNDS = 20
_PARITY = 0x1BD11BDA


def _threefry(k0, k1, x0, x1, u32):
    """The first output word; written once for NumPy arrays and for expressions of u32."""
    keys = (k0, k1, k0 ^ k1 ^ u32(_PARITY))
    x0, x1 = x0 + k0, x1 + k1
    for i in range(_ROUNDS):
        r = _ROTATIONS[i % 8]
        x0 = x0 + x1
        x1 = ((x1 << u32(r)) | (x1 >> u32(32 - r))) ^ x0
        if i % 4 == 3:
            j = i // 4 + 1
            x0, x1 = x0 + keys[j % 3], x1 + (keys[(j + 1) % 3] + u32(j))
    return x0


class RandomBits(Op):
    """32 random bits for each element, from a key of two words; `stream` sets apart users of one key.

    random_bits<shape=(2, 3), stream=1>(u32[2]) -> u32[2,3]
    random_bits<shape=(2, 3), stream=1>(f32[2]) -> DTypeError: random_bits needs a key u32[2]
    """

    shape: Shape
    stream: int

    def infer(self, key):
        if key != TensorType(U32, (2,)):
            raise DTypeError(f"random_bits needs a key u32[2], received {key}.")
        return TensorType(U32, self.shape)

    def reference(self, key):
        count = np.arange(product(self.shape), dtype=np.uint64).reshape(self.shape)
        low, high = (count & np.uint64(0xFFFFFFFF)).astype(np.uint32), (count >> np.uint64(32)).astype(np.uint32)
        return _threefry(key[0:1], key[1:2], low, high + np.uint32(self.stream << 16), np.uint32).reshape(self.shape)

    def define(self, index, key):
        place = position(index, self.shape)
        low, high = cast(place, U32), cast(place >> const(32), U32) + const(self.stream << 16, U32)
        return _threefry(key[const(0)], key[const(1)], low, high, lambda v: const(v, U32))

    def vjp(self, f, g, y, key):
        return (None,)
