"""What Keras 1 and 2 wrote into files, in the terms of Keras 3: names, options, calls, kernels and optimizers' state.

Tables say what was renamed; `modern` brings a description up to date with them, and `modern_arrays` the weights of a
layer. Keras 2 is both the Keras of several backends (to 2.3.1) and the one inside of TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphc import layers, optimizers
from graphc.configs import constructor_parameters
from graphc.layers.renamed import present_names
from graphc.model import Model

__all__ = ["SLOTS", "Version", "modern", "modern_arrays", "modern_calls", "modern_training", "written_for_all"]

# Classes that have other names now, with the options that the old class stood for.
_CLASSES: dict[str, tuple[str, dict[str, Any]]] = {
    "Model": ("Functional", {}), "Container": ("Functional", {}),
    "AtrousConvolution1D": ("Conv1D", {}), "AtrousConvolution2D": ("Conv2D", {}),
    "Convolution1D": ("Conv1D", {}), "Convolution2D": ("Conv2D", {}), "Convolution3D": ("Conv3D", {}),
    "Deconvolution2D": ("Conv2DTranspose", {}), "Deconvolution3D": ("Conv3DTranspose", {}),
    "SeparableConvolution2D": ("SeparableConv2D", {}), "TimeDistributedDense": ("Dense", {}),
    "BatchNormalizationV1": ("BatchNormalization", {}), "BatchNormalizationV2": ("BatchNormalization", {}),
    "SyncBatchNormalization": ("BatchNormalization", {}), "LSTMV2": ("LSTM", {}), "GRUV2": ("GRU", {}),
    "CuDNNLSTM": ("LSTM", {"recurrent_activation": "sigmoid"}),
    "CuDNNGRU": ("GRU", {"recurrent_activation": "sigmoid", "reset_after": True}),
}
_MERGED = {"sum": "Add", "mul": "Multiply", "concat": "Concatenate", "ave": "Average", "max": "Maximum", "dot": "Dot",
           "cos": "Dot"}

# Options that say how something was computed, not what.
_DROPPED = {"implementation", "consume_less", "sparse", "ragged", "is_legacy_optimizer", "jit_compile"}
# Options that say nothing at this value, of classes that graphc's don't have them in.
_IDLE: dict[str, tuple[Any, ...]] = {
    "mode": (0,), "time_major": (False,), "fused": (None, False, True),
    "virtual_batch_size": (None,), "groups": (1,), "interpolation": ("nearest",), "keepdims": (False,),
    "zero_output_for_mask": (False,), "output_shape": (), "dropout": (0, 0.0, None), "synchronized": (False,),
}
_RENAMED = {"atrous_rate": "dilation_rate", "input_dtype": "dtype", "theta": "threshold"}
_RULES = {  # of Keras 1, which had a name where a class is now
    "WeightRegularizer": "L1L2", "L1L2Regularizer": "L1L2", "ActivityRegularizer": "L1L2", "MaxNorm": "MaxNorm",
    "NonNeg": "NonNeg", "UnitNorm": "UnitNorm",
}
_VALUES: dict[str, dict[Any, Any]] = {"initializer": {"one": "ones", "zero": "zeros"},
                                      "activation": {"hard_sigmoid": "hard_sigmoid_of_keras_2"}}
_DISTRIBUTIONS = {"normal": "truncated_normal"}  # of VarianceScaling
_LAYER_MODULES = ("keras.layers", None)
# Options that not all releases have, at their defaults.
_OPTIMIZERS = {name: {option: parameter.default for option, parameter in constructor_parameters(cls).items()
                      if option in constructor_parameters(optimizers.Optimizer) and option != "learning_rate"}
               for name, cls in vars(optimizers).items()
               if isinstance(cls, type) and issubclass(cls, optimizers.Optimizer)}
_RATES = {"lr": "learning_rate"}
_NADAM = {"decay", "schedule_decay"}  # of its momentum, which is fixed now

# What releases call the slots of optimizers, with graphc's names, of which the first that an optimizer has is meant.
SLOTS: dict[str, tuple[str, ...]] = {
    "m": ("momentum",), "v": ("velocity", "norm"), "u": ("norm",), "vhat": ("velocity_hat",), "rms": ("velocity",),
    "mg": ("average_gradient",), "accum_grad": ("accumulated_grad",), "accum_var": ("accumulated_delta_var",),
    "momentum": ("momentum",), "velocity": ("velocity",), "accumulator": ("accumulator",), "linear": ("linear",),
    "average_gradient": ("average_gradient",), "accumulated_grad": ("accumulated_grad",),
    "accumulated_delta_var": ("accumulated_delta_var",), "velocity_hat": ("velocity_hat",), "norm": ("norm",),
}


@dataclass(frozen=True)
class Version:
    """The Keras that wrote a file; `theano` where it ran on Theano, which turns the kernels of convolutions around."""

    major: int = 3
    minor: int = 0
    in_tensorflow: bool = False
    theano: bool = False

    @classmethod
    def of(cls, version: Any, backend: Any = None, names: Sequence[str] = ()) -> Version:
        """That of the texts in a file. Keras 1 wrote no backend, but TensorFlow's names of weights end in `:0`."""
        text = str(version or "1").partition("-")[0]
        numbers = [int(part) if part.isdigit() else 0 for part in text.split(".")[:2]]
        major, minor = (*numbers, 0)[:2]
        theano = backend == "theano" or (major == 1 and bool(names) and not any(n.endswith(":0") for n in names))
        return cls(major, minor, major == 2 and (minor >= 4 or str(version).endswith("-tf")), theano)


def modern(described: Any, version: Version) -> Any:
    """The description of a model, layer, initializer, ... as Keras 3 writes it."""
    if version.major >= 3:
        return described
    if isinstance(described, list):
        return [modern(part, version) for part in described]
    if not isinstance(described, dict):
        return described
    if described.get("name") in _RULES and "class_name" not in described:
        options = {"max_value" if n == "m" else n: v for n, v in described.items() if n != "name"}
        return {"class_name": _RULES[described["name"]], "config": options}
    if not isinstance(described.get("class_name"), str) or not isinstance(described.get("config"), dict | list):
        return {name: modern(part, version) for name, part in described.items()}
    name, config = described["class_name"].removeprefix("Custom>"), described["config"]
    if name in ("Policy", "DTypePolicy"):
        return config.get("name")
    if name == "Merge":
        name, config = _merge(config)
    name, implied = _CLASSES.get(name, (name, {}))
    if isinstance(config, list):  # the layers of a Sequential model
        config = {"name": described.get("name"), "layers": config}
    known = {"class_name": name}
    if name == "Sequential" or "input_layers" in config or "layers" in config:
        inside = {**config, "layers": modern(config.get("layers"), version)}
        if config.get("name") is None:
            inside.pop("name", None)
        result = {**known, "config": inside}
    else:
        result = {**known, "config": _options(name, {**implied, **config}, version)}
    return {**described, **result}


def _merge(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    mode = config.get("mode")
    if mode not in _MERGED:
        raise ValueError(f"The layer {config.get('name')!r} (Merge) has mode={mode!r}, expected one of "
                         f"{', '.join(_MERGED)}.")
    options = {"name": config.get("name"), "trainable": True}
    if mode == "concat":
        options["axis"] = config.get("concat_axis", -1)
    elif mode in ("dot", "cos"):
        axes = config.get("dot_axes", -1)
        options |= {"axes": [a[0] if isinstance(a, list) else a for a in axes] if isinstance(axes, list) else axes,
                    "normalize": mode == "cos"}
    return _MERGED[mode], options


def _options(name: str, config: Mapping[str, Any], version: Version) -> dict[str, Any]:
    """The options of a class under their present names."""
    cls = getattr(layers, name, None)
    options = {_RENAMED.get(n, n): modern(v, version) for n, v in config.items() if n not in _DROPPED}
    if isinstance(cls, type) and issubclass(cls, layers.Layer):
        if "kernel_dim1" in options:
            options["kernel_size"] = tuple(options.pop(f"kernel_dim{i}") for i in (1, 2, 3))
        options, known = present_names(cls, options)
        ignored = (set() if name == "Embedding" else {"input_dim"}) | {"input_length"}  # said by batch_input_shape too
        options = {n: v for n, v in options.items() if n not in ignored and (n in known or not _idle(n, v))}
        if name == "GRU":
            options.setdefault("reset_after", False)
        if name == "BatchNormalization" and isinstance(options.get("axis"), list):
            (options["axis"],) = options["axis"]
        if name == "Lambda":
            options["function"] = _function(config)
            options = {n: v for n, v in options.items() if n in ("function", "arguments", "name", "trainable")}
    elif name == "VarianceScaling":
        options["distribution"] = _DISTRIBUTIONS.get(options.get("distribution", ""), options.get("distribution"))
    for option, value in options.items():
        kind = option.rpartition("_")[2]
        if kind in _VALUES and isinstance(value, str):
            options[option] = _VALUES[kind].get(value, value)
    if not isinstance(cls, type) or (name != "InputLayer" and "input_dtype" in config):
        options.pop("dtype", None)  # of initializers, and of the data that a first layer takes
    return options


def _idle(name: str, value: Any) -> bool:
    """Whether an option that graphc's class doesn't have says nothing; where no values are listed, none does."""
    return name in _IDLE and (not _IDLE[name] or value in _IDLE[name])


def _function(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a Lambda layer calls: by name, for code is refused."""
    if config.get("function_type") == "function":
        return {"class_name": "function", "config": config.get("function")}
    return {"class_name": "__lambda__", "config": None}


def modern_calls(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """A functional model's configuration with the calls of layers as Keras 3 has them.

    They were lists of `[layer, call, place]`, as they are in the `.h5` files that graphc writes where they can be.
    """
    if not any(isinstance(node, list) for layer in config["layers"] for node in layer.get("inbound_nodes") or ()):
        return config
    described = {str(layer.get("name") or layer["config"]["name"]): layer for layer in config["layers"]}
    uses = list(_uses([layer.get("inbound_nodes") for layer in described.values()], described))
    uses += _uses([config["input_layers"], config["output_layers"]], described)
    # TensorFlow counts the call that makes a model inside, but doesn't write it.
    before = {name: max(max([u[1] for u in uses if u[0] == name], default=0) + 1 - len(
        layer.get("inbound_nodes") or [None]), 0) for name, layer in described.items()}

    def place(use: Sequence[Any]) -> list[Any]:
        name, call, result = use[:3]
        return [name, call - before.get(name, 0), result]

    def value(thing: Any) -> Any:
        if _is_use(thing, described):
            if thing[0] == "_CONSTANT_VALUE":
                return thing[2]
            return {"class_name": "__keras_tensor__", "config": {"keras_history": place(thing)}}
        if isinstance(thing, dict):
            return {name: value(part) for name, part in thing.items()}
        return [value(part) for part in thing] if isinstance(thing, list) else thing

    def node(calls: Any) -> dict[str, Any]:
        if isinstance(calls, dict):
            return {"args": [value(calls)], "kwargs": {}}
        if _is_use(calls, described):
            calls = [calls]
        options = value(calls[0][3]) if len(calls[0]) > 3 else {}
        given = [value(call) for call in calls]
        return {"args": [given if len(given) > 1 else given[0]], "kwargs": options}

    def ends(thing: Any) -> Any:
        if _is_use(thing, described):
            return place(thing)
        if isinstance(thing, dict):
            return {name: ends(part) for name, part in thing.items()}
        return [ends(part) for part in thing]

    def all_ends(thing: Any) -> Any:
        found = ends(thing)
        return found[0] if isinstance(found, list) and len(found) == 1 else found

    found = [{**layer, "name": name, "inbound_nodes": [node(calls) for calls in layer.get("inbound_nodes") or ()]}
             for name, layer in described.items()]
    return {**config, "layers": found, "input_layers": all_ends(config["input_layers"]),
            "output_layers": all_ends(config["output_layers"])}


def _is_use(thing: Any, described: Mapping[str, Any]) -> bool:
    """Whether this is `[layer, call, place]`, perhaps with options behind."""
    return (isinstance(thing, list) and 3 <= len(thing) <= 4 and isinstance(thing[0], str)
            and (thing[0] in described or thing[0] == "_CONSTANT_VALUE") and isinstance(thing[1], int))


def _uses(thing: Any, described: Mapping[str, Any]) -> Iterator[list[Any]]:
    if _is_use(thing, described):
        yield thing
    for part in thing.values() if isinstance(thing, dict) else thing if isinstance(thing, list) else ():
        yield from _uses(part, described)


def modern_training(config: Mapping[str, Any], version: Version) -> dict[str, Any]:
    """The compile information as Keras 3 writes it."""
    if version.major >= 3:
        return dict(config)
    chosen = {name: modern(part, version) for name, part in config.items()}
    for name in ("metrics", "weighted_metrics"):
        found = chosen.get(name)
        if isinstance(found, list) and len(found) == 1 and isinstance(found[0], list):
            found = found[0]
        chosen[name] = _metrics(found)
    optimizer = chosen.get("optimizer")
    if isinstance(optimizer, dict) and isinstance(optimizer.get("config"), dict):
        chosen["optimizer"] = {**optimizer, "config": _optimizer(optimizer["class_name"], optimizer["config"], version)}
    return chosen


def _metrics(found: Any) -> Any:
    """Metrics that wrap a function, as the name of that."""
    if isinstance(found, list):
        return [_metrics(part) for part in found]
    if not isinstance(found, dict):
        return found
    if found.get("class_name") != "MeanMetricWrapper":
        return found if "class_name" in found else {name: _metrics(part) for name, part in found.items()}
    name, function = (found["config"].get(key) for key in ("name", "fn"))
    return name if name in ("accuracy", "acc", "crossentropy", "ce") or not function else function


def _optimizer(name: str, config: Mapping[str, Any], version: Version) -> dict[str, Any]:
    options = {_RATES.get(n, n): v for n, v in config.items()
               if not (name == "Nadam" and n in _NADAM) and not (n == "decay" and not v)}
    if options.get("epsilon", 0) is None:
        del options["epsilon"]
    if not version.in_tensorflow and "clipnorm" in options:  # which was of all gradients together
        options["global_clipnorm"] = options.pop("clipnorm")
    return options


def written_for_all(described: Any) -> Any:
    """A description that Keras 3 reads, and Keras 2 where it has the classes: by old names and calls, without defaults.

    Optimizers leave out the options of all that stand at their defaults.
    """
    if isinstance(described, list):
        return [written_for_all(part) for part in described]
    if not isinstance(described, dict):
        return described
    found = {name: written_for_all(part) for name, part in described.items()}
    config = found.get("config")
    if isinstance(config, dict) and "class_name" in found:
        new = _OPTIMIZERS.get(found["class_name"], {}) or {"seed": None}
        config = {n: v for n, v in config.items() if n not in new or v != new[n]}
        if found["class_name"] == "InputLayer" and "batch_shape" in config:
            config["batch_input_shape"] = config.pop("batch_shape")
        found["config"] = _old_calls(config) if "input_layers" in config else config
    return found


def _old_calls(config: dict[str, Any]) -> dict[str, Any]:
    """The calls of layers as Keras 2 wrote them, if it could: of one value or list, without models inside."""
    def use(value: Any, options: Any) -> list[Any] | None:
        is_value = isinstance(value, dict) and value.get("class_name") == "__keras_tensor__"
        return [*value["config"]["keras_history"], options] if is_value else None

    layers = []
    for layer in config["layers"]:
        nodes = []
        for node in layer["inbound_nodes"]:
            args, options = node["args"], node["kwargs"]
            given = args[0] if len(args) == 1 and isinstance(args[0], list) and len(args[0]) > 1 else args
            calls = [use(value, options) for value in given]
            if (len(calls) > 1 and given is args) or None in calls or any(
                    isinstance(option, dict | list) for option in options.values()):
                return config
            nodes.append(calls)
        if "layers" in layer["config"] or layer["module"] not in _LAYER_MODULES:
            return config
        layers.append({**layer, "inbound_nodes": nodes})
    return {**config, "layers": layers}


# ------------------------------------------------------------------------------------------------------------ weights

Arrays = list[np.ndarray]


def modern_arrays(layer: Any, arrays: Arrays, version: Version) -> Arrays:
    """The weights of a layer in the shapes and the order of today: trainable ones first."""
    if isinstance(layer, layers.Bidirectional):
        half = len(arrays) // 2
        return (modern_arrays(layer.forward_layer, arrays[:half], version)
                + modern_arrays(layer.backward_layer, arrays[half:], version))
    if isinstance(layer, layers.Wrapper):
        return modern_arrays(layer.layer, arrays, version)
    if isinstance(layer, Model):
        return _nested(layer, arrays, version)
    gates = len(_GATES.get(type(layer).__name__, ()))
    if gates and len(arrays) == 3 * gates:
        arrays = _joined(arrays, _GATES[type(layer).__name__])
    if gates and len(arrays) == 3:
        arrays = _from_cudnn(layer, arrays, gates)
    convert = _KERNELS.get(type(layer).__name__)
    if convert and arrays:
        kernel = convert(layer, arrays[0]) if version.major == 1 else arrays[0]
        window = len(layer.kernel_size)
        if version.theano:
            kernel = np.flip(kernel, tuple(range(window)))
        arrays = [kernel, *arrays[1:]]
    return arrays


def _nested(model: Model, arrays: Arrays, version: Version) -> Arrays:
    """The weights of a model inside: those of all its layers that are trained, then the others."""
    trained: Arrays = []
    others: Arrays = []
    rest = list(arrays)
    parts = [(layer, len(layer.trainable_weights), len(layer.non_trainable_weights)) for layer in model.layers]
    first = [_taken(rest, _count(layer, trainable, version)) for layer, trainable, _ in parts]
    second = [_taken(rest, _count(layer, others_count, version)) for layer, _, others_count in parts]
    for (layer, _, _), some, more in zip(parts, first, second, strict=True):
        found = modern_arrays(layer, [*some, *more], version)
        kept = len(found) - len(more)
        trained += found[:kept]
        others += found[kept:]
    return [*trained, *others, *rest]


def _count(layer: Any, now: int, version: Version) -> int:
    """How many arrays a layer has in the file: Keras 1 had one for each gate."""
    gates = len(_GATES.get(type(layer).__name__, ()))
    return 3 * gates if version.major == 1 and gates and now == 3 else now


def _taken(rest: Arrays, count: int) -> Arrays:
    taken = rest[:count]
    del rest[:count]
    return taken


_GATES = {"LSTM": (0, 2, 1, 3), "GRU": (0, 1, 2)}  # the order of Keras 1's in today's


def _joined(arrays: Arrays, order: Sequence[int]) -> Arrays:
    """Kernel, recurrent kernel and bias of all gates side by side, from those of each."""
    return [np.concatenate([arrays[3 * gate + part] for gate in order], -1) for part in range(3)]


def _from_cudnn(layer: Any, arrays: Arrays, gates: int) -> Arrays:
    """The weights of NVIDIA's layers, known by their two biases in a row, as those of the others."""
    kernel, recurrent, bias = arrays
    if bias.ndim != 1 or bias.size != 2 * gates * recurrent.shape[0]:
        return arrays

    def each(array: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        return np.hstack([change(part) for part in np.hsplit(array, gates)])

    bias = bias.reshape(2, -1)
    return [each(kernel, lambda k: k.T.reshape(k.shape, order="F")), each(recurrent, np.transpose),
            bias.sum(0) if type(layer).__name__ == "LSTM" else bias]


def _conv1d(layer: Any, kernel: np.ndarray) -> np.ndarray:
    size, filters = layer.kernel_size[0], layer.filters
    if kernel.shape[:2] != (size, 1) or kernel.shape[3] != filters:
        kernel = kernel.transpose(2, 3, 1, 0)
    return kernel[:, 0]


def _conv2d(layer: Any, kernel: np.ndarray) -> np.ndarray:
    return kernel.transpose(2, 3, 1, 0) if layer.data_format == "channels_first" else kernel


def _conv2d_transpose(layer: Any, kernel: np.ndarray) -> np.ndarray:
    return kernel.transpose((2, 3, 0, 1) if layer.data_format == "channels_first" else (0, 1, 3, 2))


def _conv3d(layer: Any, kernel: np.ndarray) -> np.ndarray:
    return kernel.transpose(2, 3, 4, 1, 0) if layer.data_format == "channels_first" else kernel


_KERNELS: dict[str, Callable[[Any, np.ndarray], np.ndarray]] = {  # from Keras 1
    "Conv1D": _conv1d, "Conv2D": _conv2d, "Conv2DTranspose": _conv2d_transpose, "Conv3D": _conv3d,
}
