"""graphc under the names of Keras, for one process: `graphc.install_as("keras")` and `python -m graphc run`.

An import hook answers for `keras`, or for `tensorflow` and its `keras`, with modules that pass every name on to
graphc's. Scripts of many years work: where a module lay in old releases, such as `keras.layers.core` or
`keras.utils.np_utils`, is written down below.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import graphc
from graphc.names import nearest

__all__ = ["install_as"]

# Keras's public modules, and those of graphc that stand for them.
_PLACES = {
    name: f"graphc.{name}" for name in (
        "activations", "backend", "callbacks", "config", "constraints", "datasets", "datasets.boston_housing",
        "datasets.california_housing", "datasets.cifar10", "datasets.cifar100", "datasets.fashion_mnist",
        "datasets.imdb", "datasets.mnist", "datasets.reuters", "initializers", "layers", "losses", "metrics", "models",
        "ops", "optimizers", "optimizers.schedules", "preprocessing", "preprocessing.image", "preprocessing.sequence",
        "preprocessing.text", "random", "regularizers", "saving", "utils", "wrappers", "wrappers.scikit_learn")
} | {"": "graphc"}

# Modules of older releases, by the public one that has their names today.
_OLD = {
    "layers": "layers.advanced_activations layers.convolutional layers.core layers.embeddings layers.experimental "
              "layers.experimental.preprocessing layers.local layers.merge layers.noise layers.normalization "
              "layers.pooling layers.preprocessing layers.recurrent layers.wrappers engine engine.base_layer "
              "engine.input_layer engine.topology",
    "models": "engine.training engine.sequential",
    "losses": "objectives",
    "backend": "backend.common backend.tensorflow_backend",
    "optimizers": "optimizers.experimental optimizers.legacy",
    "utils": "utils.data_utils utils.generic_utils utils.io_utils utils.layer_utils utils.np_utils utils.vis_utils",
}
_PLACES |= {old: f"graphc.{new}" for new, olds in _OLD.items() for old in olds.split()}

_ROOTS = ("keras", "tf_keras", "tensorflow")


class _Redirected(ModuleType):
    """A module whose names are those of one of graphc's."""

    def __init__(self, name: str, place: str):
        super().__init__(name)
        self.__path__: list[str] = []
        self.__dict__["_place"] = place

    def __getattr__(self, name: str) -> Any:
        full = f"{self.__name__}.{name}"
        if _place(full) is not None:
            return importlib.import_module(full)
        if name == "__version__" and self._place == "graphc":
            return f"3.15.1+graphc.{graphc.__version__}"
        try:
            return getattr(importlib.import_module(self._place), name)
        except AttributeError as error:
            if name.startswith("__"):
                raise
            raise AttributeError(_lacks(full, error), name=name) from None

    def __dir__(self) -> list[str]:
        return dir(importlib.import_module(self._place))

    def __repr__(self) -> str:
        return f"<module {self.__name__!r}, which is {self._place}>"


class _Finder:
    """Finds the redirected modules, before any installed ones."""

    def __init__(self) -> None:
        self.roots: set[str] = set()

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        if name.partition(".")[0] not in self.roots:
            return None
        if _place(name) is None:
            raise ImportError(_lacks(name), name=name)
        return ModuleSpec(name, self, is_package=True)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        place = _place(spec.name)
        assert place is not None
        importlib.import_module(place)
        return _Redirected(spec.name, place)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: the names are passed on when they are asked for."""


_FINDER = _Finder()


def install_as(name: str) -> None:
    """Let `import keras`, or `import tensorflow` and its `keras`, give graphc for the rest of this process.

    `name` is "keras", "tf_keras", "tensorflow" or "tensorflow.keras". The last two stand for a `tensorflow` that has
    `keras` and a few of the functions that scripts call, on NumPy arrays. Raises RuntimeError where the real package
    has been imported already.
    """
    root = name.removesuffix(".keras")
    if root not in _ROOTS:
        raise ValueError(f"install_as({name!r}): expected 'keras', 'tf_keras', 'tensorflow' or 'tensorflow.keras'.")
    if not isinstance(sys.modules.get(root), _Redirected | None):
        raise RuntimeError(f"install_as({name!r}): the real {root} has been imported already. Call install_as before.")
    _FINDER.roots.add(root)
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)  # type: ignore[arg-type]


def _place(name: str) -> str | None:
    """The module of graphc that stands for one of Keras's or TensorFlow's."""
    root, _, under = name.partition(".")
    if root == "tensorflow":
        if not under:
            return "graphc.tensorflow"
        head, _, under = under.partition(".")
        if head != "keras":
            return None
    return _PLACES.get(under)


def _lacks(name: str, error: AttributeError | None = None) -> str:
    """Why there is no such module or name."""
    root, *parts = name.split(".")
    if root == "tensorflow" and parts[:1] == ["keras"]:
        root, parts = "tensorflow.keras", parts[1:]
    inside = parts[:1] == ["src"] or parts[:1] == ["python"]
    parent = importlib.import_module(_place(name.rpartition(".")[0]) or "graphc")
    close = nearest(parts[-1], dir(parent))
    reason = (str(error).partition(". ")[2] if error else graphc._REFUSED.get(parts[0], "")).rstrip(".")
    hint = (f"That is the inside of {root}: import public names, such as {root}.layers." if inside
            else reason if reason.endswith("?") else f"{reason}." if reason
            else f"Did you mean {close!r}?" if close else "")
    return f"graphc, which stands for {root!r} in this process, has no {name}. {hint}".rstrip()
