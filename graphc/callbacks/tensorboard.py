"""Training as TensorBoard shows it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from graphc.callbacks.callback import Callback, Logs
from graphc.callbacks.events import EventFile, graph_def
from graphc.ir.graph import Value, topological

__all__ = ["TensorBoard"]


class TensorBoard(Callback):
    """Write event files for `tensorboard --logdir log_dir`; neither it nor TensorFlow is needed for that.

    Epochs give `epoch_loss` and so on, in the folders `train` and `validation`; `update_freq` 'batch', or a number of
    batches, adds `batch_loss` and so on. Every `histogram_freq` epochs come histograms of the weights, with
    `write_images` also as pictures. `write_graph` writes the graph of the training step, as it is traced.
    https://keras.io/api/callbacks/tensorboard/
    """

    def __init__(self, log_dir: Any = "logs", histogram_freq: int = 0, write_graph: bool = True,
                 write_images: bool = False, write_steps_per_second: bool = False, update_freq: Any = "epoch",
                 profile_batch: Any = 0, embeddings_freq: int = 0, embeddings_metadata: Any = None):
        if update_freq not in ("batch", "epoch") and (isinstance(update_freq, bool) or not isinstance(update_freq, int)
                                                      or update_freq < 1):
            raise ValueError(f"TensorBoard(update_freq={update_freq!r}): expected 'epoch', 'batch' or a number of "
                             "batches.")
        if profile_batch:
            raise ValueError(f"TensorBoard(profile_batch={profile_batch!r}): expected 0. model.profile(x, y) says "
                             "where the time goes.")
        if embeddings_freq or embeddings_metadata is not None:
            raise ValueError(f"TensorBoard(embeddings_freq={embeddings_freq!r}): expected 0. Embeddings are not "
                             "written; histogram_freq shows their weights.")
        self.log_dir, self.histogram_freq = os.fspath(log_dir), histogram_freq
        self.write_graph, self.write_images = write_graph, write_images
        self.write_steps_per_second = write_steps_per_second
        self.update_freq = 1 if update_freq == "batch" else update_freq
        self._files: dict[str, EventFile] = {}
        self._batches = 0
        if self.update_freq == "epoch" and not write_steps_per_second:
            self.idle = (TensorBoard.on_train_batch_begin, TensorBoard.on_train_batch_end)

    def _file(self, folder: str) -> EventFile:
        if folder not in self._files:
            self._files[folder] = EventFile(Path(self.log_dir, folder))
        return self._files[folder]

    def on_train_begin(self, logs: Logs = None) -> None:
        self._batches = 0
        if self.write_graph and self.model.training_graph is not None:
            self._file("train").graph(graph_def(_nodes(self.model.training_graph)))

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        self._batch_began = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        self._batches += 1
        if self.update_freq == "epoch" or self._batches % self.update_freq:
            return
        if self.write_steps_per_second:
            self._scalars("train", {"batch_steps_per_second": 1 / (time.perf_counter() - self._batch_began)},
                          self._batches)
        self._scalars("train", {f"batch_{k}": v for k, v in (logs or {}).items()}, self._batches)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._epoch_began, self._steps_before = time.perf_counter(), int(self.model.optimizer.iterations)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        logs = logs or {}
        train = {f"epoch_{k}": v for k, v in logs.items() if not k.startswith("val_")}
        train["epoch_learning_rate"] = float(self.model.optimizer.learning_rate)
        if self.write_steps_per_second:
            steps = int(self.model.optimizer.iterations) - self._steps_before
            train["epoch_steps_per_second"] = steps / (time.perf_counter() - self._epoch_began)
        self._scalars("train", train, epoch)
        held_out = {f"epoch_{k.removeprefix('val_')}": v for k, v in logs.items() if k.startswith("val_")}
        if held_out:
            self._scalars("validation", held_out, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            self._weights(epoch)

    def on_test_end(self, logs: Logs = None) -> None:
        if self.model.optimizer is not None:
            steps = int(self.model.optimizer.iterations)
            self._scalars("validation", {f"evaluation_{k}_vs_iterations": v for k, v in (logs or {}).items()}, steps)

    def on_train_end(self, logs: Logs = None) -> None:
        for file in self._files.values():
            file.close()
        self._files = {}

    def _scalars(self, folder: str, values: dict[str, Any], step: int) -> None:
        file = self._file(folder)
        for tag, value in values.items():
            if np.ndim(value) == 0:
                file.scalar(tag, float(value), step)
        file.flush()

    def _weights(self, epoch: int) -> None:
        file = self._file("train")
        for weight in self.model.weights:
            array = weight.numpy()
            file.histogram(f"{weight.path}/histogram", array, epoch)
            if self.write_images and (flat := np.squeeze(array)).ndim in (1, 2):
                picture = np.atleast_2d(flat)
                low, high = picture.min(), picture.max()
                grey = np.round((picture - low) / (high - low or 1) * 255).astype(np.uint8)
                file.image(f"{weight.path}/image", grey if grey.shape[0] <= grey.shape[1] else grey.T, epoch)
        file.flush()


def _nodes(graph: Any) -> Iterator[tuple[str, str, list[str], dict[str, str]]]:
    """The values of a graph, each in the scope of the layer that made it."""
    names: dict[Value, str] = {}
    roots = [*(v for _, v in graph.outputs), *(v for pair in graph.updates for v in pair)]
    for number, value in enumerate(topological(roots)):
        kind = type(value.op).__name__.lower()
        own = f"{kind}_{number}" if (label := getattr(value.op, "label", None)) is None else label.replace(".", "/")
        scope = value.origin.replace("(", "/").rstrip(")")
        name = own if label is not None or not scope else f"{scope}/{own}"
        names[value] = name
        yield name, kind, [names[o] for o in value.operands], {"type": str(value.type)}
