"""Batches read from folders of images or texts, or cut out of a series. https://keras.io/api/data_loading/"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graphc.sources.pydataset import PyDataset
from graphc.utils.images import img_to_array, load_img, resize, smart_resize
from graphc.utils.labels import to_categorical

__all__ = ["BatchDataset", "image_dataset_from_directory", "text_dataset_from_directory",
           "timeseries_dataset_from_array"]

_IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
_TEXTS = (".txt",)


class BatchDataset(PyDataset):
    """Batches by their number, made when they are asked for; iterate over it, or give it to `fit`.

    `read` makes one batch of the numbers of its rows. The rows are in a new order in each epoch with `shuffle`.
    """

    def __init__(self, read: Callable[[np.ndarray], Any], rows: int, batch_size: int | None, shuffle: bool = False,
                 seed: int | None = None, **attributes: Any):
        super().__init__()
        self._read, self._size, self._shuffle = read, batch_size, shuffle
        self._order = np.arange(rows)
        self._random = np.random.default_rng(np.random.randint(2**31) if seed is None else seed)
        self._attributes = attributes
        self.__dict__.update(attributes)

    def __len__(self) -> int:
        return -(-len(self._order) // (self._size or 1))

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(f"There is no batch {index} of {len(self)}.")
        if self._size is None:
            batch = self._read(self._order[index:index + 1])
            return tuple(part[0] for part in batch) if isinstance(batch, tuple) else batch[0]
        return self._read(self._order[index * self._size:(index + 1) * self._size])

    def __iter__(self) -> Iterator[Any]:
        self.on_epoch_end()
        return (self[i] for i in range(len(self)))

    def on_epoch_end(self) -> None:
        """Draw the order of the next epoch."""
        if self._shuffle:
            self._random.shuffle(self._order)

    def map(self, function: Callable[..., Any], num_parallel_calls: Any = None) -> BatchDataset:
        """The same with `function(x)` or `function(x, y)` applied to every batch."""
        made = self._part(slice(None))

        def read(rows: np.ndarray) -> Any:
            batch = self._read(rows)
            return function(*batch) if isinstance(batch, tuple) else function(batch)

        made._read = read
        return made

    def take(self, count: int) -> BatchDataset:
        """The first `count` batches."""
        return self._part(slice(0, count * (self._size or 1)))

    def skip(self, count: int) -> BatchDataset:
        """All but the first `count` batches."""
        return self._part(slice(count * (self._size or 1), None))

    def prefetch(self, buffer_size: Any = None) -> BatchDataset:
        """Itself: `fit` prepares the next batch while a step runs."""
        return self

    def cache(self, filename: Any = None) -> BatchDataset:
        """The same with every row read once; the batches are kept in memory."""
        whole = self._read(np.sort(self._order))
        place = {row: i for i, row in enumerate(np.sort(self._order).tolist())}
        made = self._part(slice(None))

        def read(rows: np.ndarray) -> Any:
            at = [place[row] for row in rows.tolist()]
            return tuple(part[at] for part in whole) if isinstance(whole, tuple) else whole[at]

        made._read = read
        return made

    def _part(self, rows: slice) -> BatchDataset:
        made = BatchDataset(self._read, 0, self._size, self._shuffle, int(self._random.integers(2**31)),
                            **self._attributes)
        made._order = self._order[rows].copy()
        return made


def timeseries_dataset_from_array(data: Any, targets: Any, sequence_length: int, sequence_stride: int = 1,
                                  sampling_rate: int = 1, batch_size: int | None = 128, shuffle: bool = False,
                                  seed: int | None = None, start_index: int | None = None,
                                  end_index: int | None = None) -> BatchDataset:
    """Windows of a series (n,...), each with the target of its first step; without targets just the windows.

    A window has `sequence_length` steps that are `sampling_rate` apart; windows start `sequence_stride` apart, between
    `start_index` and `end_index`.
    """
    rows = len(data)
    for name, value, low, high in (("sequence_length", sequence_length, 1, rows),
                                   ("sequence_stride", sequence_stride, 1, rows - 1),
                                   ("sampling_rate", sampling_rate, 1, rows - 1),
                                   ("start_index", start_index or 0, 0, rows - 1),
                                   ("end_index", rows if end_index is None else end_index, (start_index or 0) + 1,
                                    rows)):
        if not low <= value <= high:
            raise ValueError(f"timeseries_dataset_from_array({name}={value}): expected {low} to {high} for {rows} "
                             "steps.")
    first, last = start_index or 0, rows if end_index is None else end_index
    series = np.asarray(data)[first:last]
    count = len(series) - (sequence_length - 1) * sampling_rate
    labels = None if targets is None else np.asarray(targets)[first:last]
    count = count if targets is None else min(count, len(targets))
    starts = np.arange(0, max(count, 0), sequence_stride)
    steps = np.arange(sequence_length) * sampling_rate

    def read(at: np.ndarray) -> Any:
        windows = series[starts[at][:, None] + steps]
        return windows if labels is None else (windows, labels[starts[at]])

    return BatchDataset(read, len(starts), batch_size, shuffle, seed)


def image_dataset_from_directory(directory: Any, labels: Any = "inferred", label_mode: str | None = "int",
                                 class_names: Sequence[str] | None = None, color_mode: str = "rgb",
                                 batch_size: int | None = 32, image_size: Any = (256, 256), shuffle: bool = True,
                                 seed: int | None = None, validation_split: float | None = None,
                                 subset: str | None = None, interpolation: str = "bilinear",
                                 follow_links: bool = False, crop_to_aspect_ratio: bool = False,
                                 pad_to_aspect_ratio: bool = False, verbose: bool = True) -> Any:
    """Images float32 (n,height,width,channels) from 0 to 255, with the labels of the folders that they are in.

    The classes are the names of the folders in `directory` in their order, or `class_names`; `labels` are those of the
    files in the order of their paths, or None. `label_mode` is 'int' for int32 (n,), 'categorical' for one-hot rows,
    'binary' for float32 (n,1), or None for images alone. With `validation_split` the `subset` is 'training',
    'validation', the last part of the shuffled files, or 'both'. The result has `class_names` and `file_paths`. Needs
    Pillow.
    """
    size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if crop_to_aspect_ratio and pad_to_aspect_ratio:
        raise ValueError("image_dataset_from_directory: crop_to_aspect_ratio and pad_to_aspect_ratio exclude one "
                         "another.")

    def read(path: str) -> np.ndarray:
        image = img_to_array(load_img(path, color_mode))
        if crop_to_aspect_ratio:
            return smart_resize(image, size, interpolation)
        return resize(_padded(image, size) if pad_to_aspect_ratio else image, size, interpolation)

    return _from_folders(read, _IMAGES, directory, labels, label_mode, class_names, batch_size, shuffle, seed,
                         validation_split, subset, follow_links, verbose)


def text_dataset_from_directory(directory: Any, labels: Any = "inferred", label_mode: str | None = "int",
                                class_names: Sequence[str] | None = None, batch_size: int | None = 32,
                                max_length: int | None = None, shuffle: bool = True, seed: int | None = None,
                                validation_split: float | None = None, subset: str | None = None,
                                follow_links: bool = False, verbose: bool = True) -> Any:
    """The contents of .txt files as arrays of str (n,), with the labels of the folders that they are in.

    `max_length` cuts texts off; the other arguments are those of `image_dataset_from_directory`.
    """

    def read(path: str) -> str:
        return Path(path).read_text("utf-8")[:max_length]

    return _from_folders(read, _TEXTS, directory, labels, label_mode, class_names, batch_size, shuffle, seed,
                         validation_split, subset, follow_links, verbose)


def _from_folders(read: Callable[[str], Any], formats: tuple[str, ...], directory: Any, labels: Any,
                  label_mode: str | None, class_names: Sequence[str] | None, batch_size: int | None, shuffle: bool,
                  seed: int | None, validation_split: float | None, subset: str | None, follow_links: bool,
                  verbose: bool) -> Any:
    if label_mode not in ("int", "categorical", "binary", None):
        raise ValueError(f"label_mode={label_mode!r}: expected 'int', 'categorical', 'binary' or None.")
    _check_subset(validation_split, subset, shuffle, seed)
    paths, numbers, names = _index(Path(directory), None if label_mode is None else labels, class_names, formats,
                                   follow_links)
    if not paths:
        raise ValueError(f"There are no files with {', '.join(formats)} in {directory}.")
    if verbose:
        of = f" belonging to {len(names)} classes" if numbers is not None else ""
        print(f"Found {len(paths)} files{of}.", file=sys.stderr)
    if label_mode == "binary" and numbers is not None and len(names) != 2:
        raise ValueError(f"label_mode='binary' needs two classes, {directory} has {len(names)}: {', '.join(names)}.")
    seed = np.random.randint(10**6) if seed is None else seed
    order = np.arange(len(paths))
    if shuffle:
        np.random.RandomState(seed).shuffle(order)
    encoded = None if numbers is None else _encoded(numbers, label_mode, len(names))

    def made(rows: np.ndarray, shuffled: bool) -> BatchDataset:
        files = [paths[i] for i in rows]

        def batch(at: np.ndarray) -> Any:
            x = np.array([read(files[i]) for i in at])
            return x if encoded is None else (x, encoded[rows[at]])

        return BatchDataset(batch, len(files), batch_size, shuffled, seed, class_names=names, file_paths=files)

    held_out = int((validation_split or 0) * len(paths))
    parts = {None: order, "training": order[:len(order) - held_out], "validation": order[len(order) - held_out:]}
    if subset == "both":
        return made(parts["training"], shuffle), made(parts["validation"], False)
    return made(parts[subset], shuffle)


def _check_subset(validation_split: float | None, subset: str | None, shuffle: bool, seed: int | None) -> None:
    if validation_split is not None and not 0 < validation_split < 1:
        raise ValueError(f"validation_split={validation_split!r}: expected a fraction between 0 and 1.")
    if (validation_split is None) != (subset is None):
        raise ValueError(f"validation_split={validation_split!r} and subset={subset!r}: give both or neither.")
    if subset not in (None, "training", "validation", "both"):
        raise ValueError(f"subset={subset!r}: expected 'training', 'validation' or 'both'.")
    if subset in ("training", "validation") and shuffle and seed is None:
        raise ValueError(f"subset={subset!r} with shuffle=True needs a seed, the same for both subsets: otherwise some "
                         "files are in both.")


def _index(directory: Path, labels: Any, class_names: Sequence[str] | None, formats: tuple[str, ...],
           follow_links: bool) -> tuple[list[str], np.ndarray | None, list[str]]:
    """The files, the number of each one's class, and the classes."""
    if isinstance(labels, str) and labels == "inferred":
        names = sorted(p.name for p in directory.iterdir() if p.is_dir() and not p.name.startswith("."))
        if class_names is not None and not set(class_names) <= set(names):
            raise ValueError(f"class_names={list(class_names)}: the folders in {directory} are {', '.join(names)}.")
        names = list(class_names or names)
        files = [list(_files(directory / name, formats, follow_links)) for name in names]
        numbers = np.repeat(np.arange(len(names)), [len(f) for f in files])
        return [path for part in files for path in part], numbers, names
    if class_names is not None:
        raise ValueError("class_names go with labels='inferred'.")
    paths = list(_files(directory, formats, follow_links))
    if labels is None:
        return paths, None, []
    if len(labels) != len(paths):
        raise ValueError(f"labels has {len(labels)} entries for the {len(paths)} files in {directory}.")
    return paths, np.asarray(labels), [str(label) for label in sorted(set(labels))]


def _files(folder: Path, formats: tuple[str, ...], follow_links: bool) -> Iterator[str]:
    """The files of a folder and of those inside, in the order of their paths."""
    for root, _, names in sorted(os.walk(folder, followlinks=follow_links)):
        yield from (os.path.join(root, name) for name in sorted(names) if name.lower().endswith(formats))


def _encoded(numbers: np.ndarray, label_mode: str | None, classes: int) -> np.ndarray:
    if label_mode == "categorical":
        return to_categorical(numbers, classes)
    return numbers.astype(np.float32)[:, None] if label_mode == "binary" else numbers.astype(np.int32)


def _padded(image: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """An image between borders of zeros, so that it has the shape of the target."""
    height, width = image.shape[:2]
    tall, wide = max(height, int(width * size[0] / size[1])), max(width, int(height * size[1] / size[0]))
    top, left = (tall - height) // 2, (wide - width) // 2
    return np.pad(image, ((top, tall - height - top), (left, wide - width - left), (0, 0)))
