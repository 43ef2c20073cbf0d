"""Layers: configuration, `build` for the weights, `call` for the values. https://keras.io/api/layers/"""

from __future__ import annotations

from graphc.layers.convolution import Conv1D, Conv2D, Convolution1D, Convolution2D
from graphc.layers.core import Activation, Dense, Dropout, Flatten, Input, InputLayer, ReLU, Softmax
from graphc.layers.layer import Layer
from graphc.layers.pooling import AveragePooling2D, AvgPool2D, MaxPool2D, MaxPooling2D

__all__ = ["Activation", "AveragePooling2D", "AvgPool2D", "Conv1D", "Conv2D", "Convolution1D", "Convolution2D", "Dense",
           "Dropout", "Flatten", "Input", "InputLayer", "Layer", "MaxPool2D", "MaxPooling2D", "ReLU", "Softmax"]
