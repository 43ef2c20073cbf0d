"""The names that options of layers had in Keras 1 and 2, which many tutorials still use."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from graphc.configs import constructor_options

__all__ = ["present_names", "taking_name_first", "taking_old_names"]

# The old name of an option, and its present ones, of which the first that a layer has is meant.
_OLD: dict[str, tuple[str, ...]] = {
    "nb_filter": ("filters",), "filter_length": ("kernel_size",), "border_mode": ("padding",),
    "subsample": ("strides",), "subsample_length": ("strides",), "stride": ("strides",), "pool_length": ("pool_size",),
    "dim_ordering": ("data_format",), "length": ("size",), "output_dim": ("units",), "bias": ("use_bias",),
    "p": ("rate",), "sigma": ("stddev",), "alpha": ("negative_slope",),
    "init": ("kernel_initializer", "depthwise_initializer", "embeddings_initializer", "alpha_initializer"),
    "W_regularizer": ("kernel_regularizer", "embeddings_regularizer"), "b_regularizer": ("bias_regularizer",),
    "W_constraint": ("kernel_constraint", "embeddings_constraint"), "b_constraint": ("bias_constraint",),
    "U_regularizer": ("recurrent_regularizer",), "inner_init": ("recurrent_initializer",),
    "inner_activation": ("recurrent_activation",), "forget_bias_init": ("unit_forget_bias",),
    "dropout_W": ("dropout",), "dropout_U": ("recurrent_dropout",),
    "beta_init": ("beta_initializer",), "gamma_init": ("gamma_initializer",),
}
_VALUES: dict[str, dict[Any, Any]] = {"dim_ordering": {"tf": "channels_last", "th": "channels_first"},
                                      "forget_bias_init": {"one": True, "zero": False}}


def taking_old_names(init: Callable[..., None]) -> Callable[..., None]:
    """A constructor that also takes old names of its options, where it has no option of such a name itself."""
    @functools.wraps(init)
    def translating(self: Any, *args: Any, **options: Any) -> None:
        init(self, *args, **(present_names(type(self), options)[0] if _ANY & options.keys() else options))

    return translating


def taking_name_first(method: Callable[..., Any]) -> Callable[..., Any]:
    """`add_weight`, which had the name in first place in Keras 2."""
    @functools.wraps(method)
    def call(self: Any, *args: Any, **options: Any) -> Any:
        if args and isinstance(args[0], str):
            args, options = args[1:], {**options, "name": args[0]}
        return method(self, *args, **options)

    return call


_ANY = _OLD.keys() | {"nb_row"}


def present_names(cls: type, options: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Options of a layer's class by their present names, and the names that it knows."""
    known = constructor_options(cls)
    options = dict(options)
    if "kernel_size" in known and {"nb_row", "nb_col"} <= options.keys():
        options["kernel_size"] = (options.pop("nb_row"), options.pop("nb_col"))
    for old in _OLD.keys() & options.keys() - set(known):
        new = next((name for name in _OLD[old] if name in known and name not in options), None)
        if new is not None:
            value = options.pop(old)
            options[new] = _VALUES.get(old, {}).get(value, value) if isinstance(value, str) else value
    return options, known
