"""The contenders: what has to be installed, and which module makes their steps."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import shutil
from dataclasses import dataclass, field

from models import Model
from steps import Loaded, Weights

__all__ = ["CONTENDERS", "Contender", "versions"]

@dataclass(frozen=True)
class Contender:
    """A library, or one way to use it. `loader` is a function of one of the modules here."""

    name: str
    title: str
    packages: tuple[str, ...]  # what has to be installed
    loader: str
    environment: dict[str, str] = field(default_factory=dict)
    trains: bool = True
    tutorial_batch_only: bool = False  # because each batch size takes long to compile
    cache: str = ""  # the variable that names a folder for its compiled code
    command: str = ""  # a program that it needs

    def missing(self) -> str:
        """Why it can't take part; empty where it can."""
        gone = [p for p in self.packages if importlib.util.find_spec(p) is None]
        if gone:
            return f"{' and '.join(gone)} not installed"
        return f"no {self.command} to compile with" if self.command and not shutil.which(self.command) else ""

    def load(self, model: Model, weights: Weights, dropout: bool) -> Loaded:
        """The model with these weights; imports what it needs."""
        module, function = self.loader.split(".")
        return getattr(importlib.import_module(module), function)(model, weights, dropout)


def versions(packages: set[str]) -> dict[str, str]:
    """The versions of those packages that are installed."""
    by_module = importlib.metadata.packages_distributions()
    return {p: importlib.metadata.version(by_module[p][0]) for p in sorted(packages) if p in by_module}


CONTENDERS = {c.name: c for c in (
    Contender("graphc", "graphc", ("graphc",), "in_keras.load_graphc", cache="GRAPHC_CACHE"),
    Contender("numpy", "graphc on NumPy", ("graphc",), "in_keras.load_graphc", {"GRAPHC_BACKEND": "numpy"}),
    Contender("keras-tensorflow", "Keras on TensorFlow", ("keras", "tensorflow"), "in_keras.load_keras",
              {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}),
    Contender("keras-jax", "Keras on JAX", ("keras", "jax"), "in_keras.load_keras", {"KERAS_BACKEND": "jax"}),
    Contender("keras-torch", "Keras on torch", ("keras", "torch"), "in_keras.load_keras", {"KERAS_BACKEND": "torch"}),
    Contender("torch", "torch", ("torch",), "in_torch.load"),
    Contender("torch.compile", "torch.compile", ("torch",), "in_torch.load_compiled", tutorial_batch_only=True,
              cache="TORCHINDUCTOR_CACHE_DIR", command="g++"),
    Contender("onnxruntime", "ONNX Runtime", ("onnx", "onnxruntime"), "in_onnx.load_onnxruntime", trains=False),
    Contender("openvino", "OpenVINO", ("onnx", "openvino"), "in_onnx.load_openvino", trains=False),
)}
