"""Layers as the dicts that Keras describes them by, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphc.configs import describe
from graphc.layers.layer import Layer

__all__ = ["deserialize", "serialize"]


def serialize(layer: Layer) -> dict[str, Any]:
    """The class and the configuration of a layer, without its weights."""
    return describe(layer)


def deserialize(config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Layer:
    """A new layer from what `serialize` gave; classes of one's own are found in `custom_objects`."""
    from graphc import serialization  # which builds on layers

    return serialization.deserialize(config, "layer", custom_objects)
