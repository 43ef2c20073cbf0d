"""The package onnx, which is imported when a file is written or read, and what its files and graphc have in common."""

from __future__ import annotations

from typing import Any

from graphc.ir.types import DTYPES, DType

__all__ = ["OPSETS", "UNTRAINED", "dtype_of", "element_type", "package"]

OPSETS = range(18, 23)  # those that are written, the first of them where nothing else is said
UNTRAINED = "not trainable"  # the note on a weight that training leaves alone
_ELEMENTS = {"f32": 1, "u8": 2, "i32": 6, "i64": 7, "bool": 9, "f64": 11, "u32": 12}  # TensorProto.DataType


def package() -> Any:
    """The package onnx."""
    try:
        import onnx
        import onnx.checker
        import onnx.helper
        import onnx.numpy_helper
    except ImportError as error:
        raise ImportError("ONNX files need the package onnx. Install it with: pip install graphc[onnx]") from error
    return onnx


def element_type(dtype: DType) -> int:
    """The number by which ONNX knows a dtype."""
    return _ELEMENTS[dtype.name]


def dtype_of(element: int) -> DType | None:
    """The dtype that ONNX knows by a number, where graphc has it."""
    return next((DTYPES[name] for name, number in _ELEMENTS.items() if number == element), None)
