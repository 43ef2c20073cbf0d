"""ONNX files: models written for other runtimes, and read from those of other frameworks. https://onnx.ai/onnx/

    model.export("m.onnx")                  # docs/keras.md says which opset and what can be written
    model = graphc.onnx.load("m.onnx")      # a model that predicts, and that can be trained on

Both need the package onnx: `pip install graphc[onnx]`. Nothing in a file runs, and no other file is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphc.lazy import lazy

if TYPE_CHECKING:
    from graphc.onnx.loader import load

__all__ = ["load"]

__getattr__, __dir__ = lazy(__name__, names={"load": "graphc.onnx.loader"})
