"""Models in torch: each layer of an outline as a module, channels first."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from models import Model, Node
from steps import EPSILON, RATE, Run, Weights, channels_first, flattened, rows_by_channel, same_padding
from torch import nn

__all__ = ["TorchLoaded", "load", "load_compiled"]


def load(model: Model, weights: Weights, dropout: bool) -> TorchLoaded:
    return TorchLoaded(model, weights, dropout)


def load_compiled(model: Model, weights: Weights, dropout: bool) -> TorchLoaded:
    torch._dynamo.config.recompile_limit = 1000  # every model and every batch size is compiled
    return TorchLoaded(model, weights, dropout, compiled=True)


class TorchLoaded:
    """A network of torch; of images also one with channels last in memory."""

    def __init__(self, model: Model, weights: Weights, dropout: bool, compiled: bool = False):
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
        self.model = model
        layouts = {"default": torch.contiguous_format, "channels_last": torch.channels_last}
        self.ways: dict[str, tuple[Any, Any]] = {}
        for way, layout in layouts.items() if len(model.inputs) == 3 else [("default", torch.contiguous_format)]:
            network = Network(model, weights, dropout).to(memory_format=layout)
            self.ways[way] = layout, torch.compile(network, dynamic=False) if compiled else network

    def train(self, x: np.ndarray, y: np.ndarray) -> dict[str, Run]:
        target = self._labels(y)

        def way(layout: Any, network: Any) -> Run:
            samples = torch.from_numpy(channels_first(x)).contiguous(memory_format=layout)
            step = self._step(network)

            def run(n: int) -> Any:
                for _ in range(n):
                    result = step(samples, target)
                return result

            return run

        return {name: way(*parts) for name, parts in self.ways.items()}

    def predict(self, x: np.ndarray) -> dict[str, Run]:
        classes = self.model.classes

        def way(layout: Any, network: Any) -> Run:
            samples = torch.from_numpy(channels_first(x)).contiguous(memory_format=layout)

            def run(n: int) -> np.ndarray:
                network.eval()
                with torch.inference_mode():
                    for _ in range(n):
                        result = network(samples)
                        result = result if not classes else result.sigmoid() if classes == 2 else result.softmax(-1)
                return result.numpy()

            return run

        return {name: way(*parts) for name, parts in self.ways.items()}

    def epoch(self, x: np.ndarray, y: np.ndarray, rows: int) -> None:
        layout, network = next(iter(self.ways.values()))
        samples, target, step = torch.from_numpy(channels_first(x)), self._labels(y), self._step(network)
        for chosen in torch.randperm(len(x)).split(rows):
            step(samples[chosen].contiguous(memory_format=layout), target[chosen])

    def _labels(self, y: np.ndarray) -> Any:
        return torch.from_numpy(y.astype(np.int64) if self.model.classes > 2 else y)

    def _step(self, network: Any) -> Any:
        """A step of training, with an Adam of its own."""
        loss = {"mse": nn.functional.mse_loss, "sparse_categorical_crossentropy": _crossentropy,
                "binary_crossentropy": nn.functional.binary_cross_entropy_with_logits}[self.model.loss]
        adam = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], RATE, eps=EPSILON, fused=True)

        def step(samples: Any, target: Any) -> Any:
            network.train()
            adam.zero_grad()
            result = loss(network(samples), target)
            result.backward()
            adam.step()
            return result

        return step


def _crossentropy(logits: Any, target: Any) -> Any:
    return nn.functional.cross_entropy(logits.flatten(0, -2), target.flatten())


class Network(nn.Module):
    """The layers of an outline, without the activation of the last one."""

    def __init__(self, model: Model, weights: Weights, dropout: bool):
        super().__init__()
        nodes = model.outline
        self.parts = nn.ModuleList(_module(n, weights.get(n.name, []), dropout) for n in nodes[1:])
        self.sources = [[nodes.index(s) for s in n.sources] for n in nodes[1:]]

    def forward(self, x: Any) -> Any:
        values = [x]
        for part, sources in zip(self.parts, self.sources, strict=True):
            values.append(part(*[values[i] for i in sources]))
        return values[-1]


def _parameter(array: np.ndarray, *axes: int) -> nn.Parameter:
    return nn.Parameter(torch.from_numpy(np.ascontiguousarray(array.transpose(axes) if axes else array)))


def _module(node: Node, w: list[np.ndarray], dropout: bool) -> nn.Module:
    """A layer with Keras's weights."""
    options, x = node.options, node.sources[0].shape
    match node.kind:
        case "Dense":
            made = nn.Linear(x[-1], node.shape[-1])
            made.weight = _parameter(rows_by_channel(w[0], flattened(node.sources[0])), 1, 0)
            made.bias = _parameter(w[1])
        case "Conv2D":
            kind = SameConv2d if options.get("padding") == "same" else nn.Conv2d
            made = kind(x[-1], node.shape[-1], options["kernel_size"], options.get("strides", 1), bias=len(w) > 1)
            made.weight = _parameter(w[0], 3, 2, 0, 1)
            if len(w) > 1:
                made.bias = _parameter(w[1])
        case "BatchNormalization":
            made = nn.BatchNorm2d(x[-1], eps=1e-3, momentum=0.01)
            made.weight, made.bias = map(_parameter, w[:2])
            made.running_mean, made.running_var = (torch.from_numpy(a.copy()) for a in w[2:])
        case "LayerNormalization":
            made = nn.LayerNorm(x[-1], eps=1e-3)
            made.weight, made.bias = map(_parameter, w)
        case "Embedding":
            made = nn.Embedding(*w[0].shape)
            made.weight = _parameter(w[0])
        case "LSTM":  # the gates stand in the same order; torch's second bias is held at zero
            made = LastOfLSTM(x[-1], node.shape[-1], batch_first=True)
            made.weight_ih_l0, made.weight_hh_l0 = _parameter(w[0], 1, 0), _parameter(w[1], 1, 0)
            made.bias_ih_l0, made.bias_hh_l0 = _parameter(w[2]), _parameter(np.zeros_like(w[2]))
            made.bias_hh_l0.requires_grad_(False)
        case "MultiHeadAttention":
            width = x[-1]
            made = Attention(options["num_heads"], width)
            made.project.weight = _parameter(np.concatenate([w[i].reshape(width, width).T for i in (0, 2, 4)]))
            made.project.bias = _parameter(np.concatenate([w[i].reshape(width) for i in (1, 3, 5)]))
            made.out.weight, made.out.bias = _parameter(w[6].reshape(width, width), 1, 0), _parameter(w[7])
        case "Dropout":
            made = nn.Dropout(options["rate"] if dropout else 0.0)
        case "GlobalAveragePooling2D":
            made = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        case "MaxPooling2D":
            made = nn.MaxPool2d(2)
        case kind:
            made = {"Activation": nn.ReLU, "Add": Add, "Flatten": nn.Flatten}[kind]()
    hidden = node.kind != "Activation" and options.get("activation") == "relu"
    return nn.Sequential(made, nn.ReLU()) if hidden else made


class Add(nn.Module):
    """The sum of two branches."""

    def forward(self, x: Any, y: Any) -> Any:
        return x + y


class SameConv2d(nn.Conv2d):
    """A convolution padded as Keras pads, which for strides is not the same on both sides."""

    def forward(self, x: Any) -> Any:
        before, after = same_padding(x.shape[-1], self.kernel_size[0], self.stride[0])
        if before == after:
            return nn.functional.conv2d(x, self.weight, self.bias, self.stride, before)
        return super().forward(nn.functional.pad(x, (before, after) * 2))


class LastOfLSTM(nn.LSTM):
    """The output of an LSTM after the last word."""

    def forward(self, x: Any) -> Any:
        return super().forward(x)[1][0][0]


class Attention(nn.Module):
    """Self-attention with one product for queries, keys and values."""

    def __init__(self, heads: int, width: int):
        super().__init__()
        self.heads, self.project, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Any) -> Any:
        n, length, width = x.shape
        q, k, v = self.project(x).view(n, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).reshape(n, length, width))
