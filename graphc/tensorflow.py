"""The little of TensorFlow that Keras scripts call, on NumPy arrays and symbolic values, for `graphc.redirect`."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from graphc import ops
from graphc.utils import set_random_seed
from graphc.variable import Variable

__all__: list[str] = []

__version__ = "2.19.0+graphc"

# TensorFlow's names of functions that graphc.ops has under the same or another one.
_OPS = {
    "abs": "abs", "add": "add", "argmax": "argmax", "argmin": "argmin", "cast": "cast", "concat": "concatenate",
    "cos": "cos", "divide": "divide", "einsum": "einsum", "equal": "equal", "exp": "exp", "eye": "eye",
    "expand_dims": "expand_dims", "floor": "floor", "gather": "take", "greater": "greater",
    "greater_equal": "greater_equal", "less": "less", "less_equal": "less_equal", "logical_and": "logical_and",
    "logical_not": "logical_not", "logical_or": "logical_or", "matmul": "matmul", "maximum": "maximum",
    "minimum": "minimum", "multiply": "multiply", "negative": "negative", "not_equal": "not_equal", "ones": "ones",
    "ones_like": "ones_like", "pow": "power", "reduce_all": "all", "reduce_any": "any", "reduce_max": "max",
    "reduce_mean": "mean", "reduce_min": "min", "reduce_prod": "prod", "reduce_sum": "sum", "repeat": "repeat",
    "reshape": "reshape", "round": "round", "shape": "shape", "sigmoid": "sigmoid", "sign": "sign", "sin": "sin",
    "split": "split", "sqrt": "sqrt", "square": "square", "squeeze": "squeeze", "stack": "stack",
    "stop_gradient": "stop_gradient", "subtract": "subtract", "tanh": "tanh", "tile": "tile",
    "transpose": "transpose", "where": "where", "zeros": "zeros", "zeros_like": "zeros_like",
}
_MATH = _OPS | {"log": "log", "log1p": "log1p", "reduce_logsumexp": "logsumexp", "reduce_std": "std",
                "reduce_variance": "var", "rsqrt": "rsqrt", "softplus": "softplus"}
_NN = {"elu": "elu", "gelu": "gelu", "leaky_relu": "leaky_relu", "log_softmax": "log_softmax", "relu": "relu",
       "relu6": "relu6", "selu": "selu", "sigmoid": "sigmoid", "silu": "silu", "softmax": "softmax",
       "softplus": "softplus", "softsign": "softsign", "swish": "silu", "tanh": "tanh"}
_INSTEAD = {
    "GradientTape": "Take gradients with graphc.value_and_grad, in train_step or a loop of your own",
    "Dataset": "Give fit arrays, a generator, or a subclass of keras.utils.PyDataset",
    "distribute": "graphc runs on one machine",
    "saved_model": "Models are written with model.save",
}
_DTYPES = ("bool", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


class _Module:
    """Some names of a module, and functions of graphc.ops under TensorFlow's names."""

    def __init__(self, name: str, functions: dict[str, str] | None = None, **names: Any):
        self.__dict__.update(names)
        self._name, self._functions = name, functions or {}

    def __getattr__(self, name: str) -> Any:
        return _function(self._name, self._functions, name)


def _function(owner: str, functions: dict[str, str], name: str) -> Any:
    if name not in functions:
        instead = _INSTEAD.get(name, "graphc runs models of tensorflow.keras: write other computations with keras.ops "
                                     "or NumPy")
        raise AttributeError(f"graphc, which stands for 'tensorflow' in this process, has no {owner}.{name}. {instead}",
                             name=name)
    return getattr(ops, functions[name])


def __getattr__(name: str) -> Any:
    if name in _DTYPES:
        return np.dtype(name).type if name != "bool" else np.bool_
    return _function("tensorflow", _OPS, name)


def __dir__() -> list[str]:
    return sorted([*_OPS, *_DTYPES, "Variable", "config", "constant", "convert_to_tensor", "data", "device", "function",
                   "keras", "math", "name_scope", "nn", "ones", "random", "zeros"])


def constant(value: Any, dtype: Any = None, shape: Any = None, name: str | None = None) -> np.ndarray:
    """The value as an array, float32 for Python's floats, int32 for its integers."""
    array = np.asarray(value, dtype)
    if dtype is None and not isinstance(value, np.ndarray | np.generic) and array.dtype.kind in "fi":
        array = array.astype(np.float32 if array.dtype.kind == "f" else np.int32)
    return array if shape is None else np.broadcast_to(array, shape).copy() if array.ndim == 0 else array.reshape(shape)


def convert_to_tensor(value: Any, dtype: Any = None, dtype_hint: Any = None, name: str | None = None) -> Any:
    """The value as an array; a symbolic value stays one."""
    return constant(value, dtype) if not hasattr(value, "op") else value


def zeros(shape: Any, dtype: Any = np.float32, name: str | None = None) -> np.ndarray:
    """Zeros of that shape."""
    return np.zeros(shape, dtype)


def ones(shape: Any, dtype: Any = np.float32, name: str | None = None) -> np.ndarray:
    """Ones of that shape."""
    return np.ones(shape, dtype)


def _normal(shape: Any, mean: float = 0.0, stddev: float = 1.0, dtype: Any = np.float32, seed: int | None = None,
            name: str | None = None) -> np.ndarray:
    return _generator(seed).normal(mean, stddev, shape).astype(dtype)


def _uniform(shape: Any, minval: float = 0, maxval: float | None = None, dtype: Any = np.float32,
             seed: int | None = None, name: str | None = None) -> np.ndarray:
    high = 1.0 if maxval is None else maxval
    if np.dtype(dtype).kind in "iu":
        return _generator(seed).integers(int(minval), int(high), shape, dtype)
    return _generator(seed).uniform(minval, high, shape).astype(dtype)


def _generator(seed: int | None) -> np.random.Generator:
    return np.random.default_rng(np.random.randint(2**31) if seed is None else seed)


def _no_devices(device_type: str | None = None) -> list[Any]:
    return []


def _nothing(*arguments: Any, **options: Any) -> None:
    """What is set there has no meaning here."""


random = _Module("tensorflow.random", set_seed=set_random_seed, normal=_normal, uniform=_uniform)
math, nn = _Module("tensorflow.math", _MATH), _Module("tensorflow.nn", _NN)
data = _Module("tensorflow.data", AUTOTUNE=-1, experimental=_Module("tensorflow.data.experimental", AUTOTUNE=-1))
config = _Module("tensorflow.config", list_physical_devices=_no_devices, list_logical_devices=_no_devices,
                 run_functions_eagerly=_nothing, experimental=_Module(
                     "tensorflow.config.experimental", list_physical_devices=_no_devices, set_memory_growth=_nothing))
test = _Module("tensorflow.test", is_gpu_available=lambda *a, **k: False, is_built_with_cuda=lambda: False,
               gpu_device_name=lambda: "")
_LOGGING = _Module("tensorflow.compat.v1.logging", set_verbosity=_nothing, ERROR=logging.ERROR, WARN=logging.WARNING,
                   INFO=logging.INFO, FATAL=logging.FATAL)
compat = _Module("tensorflow.compat", v1=_Module("tensorflow.compat.v1", logging=_LOGGING,
                                                 set_random_seed=set_random_seed))


def device(name: Any) -> AbstractContextManager[None]:
    """A block in which nothing is different: there is one device."""
    return nullcontext()


def name_scope(name: str) -> AbstractContextManager[None]:
    """A block in which nothing is different: layers have their own names."""
    return nullcontext()


def get_logger() -> logging.Logger:
    """The logger `tensorflow`, which nothing writes to."""
    return logging.getLogger("tensorflow")


def function(func: Any = None, **options: Any) -> Any:
    """The function itself, also as a decorator: graphc compiles what a model calls."""
    return func if func is not None else lambda f: f


def executing_eagerly() -> bool:
    """True, as in TensorFlow 2."""
    return True


def is_tensor(x: Any) -> bool:
    """Whether x is an array, a variable or a symbolic value."""
    return isinstance(x, np.ndarray | Variable) or hasattr(x, "op")
