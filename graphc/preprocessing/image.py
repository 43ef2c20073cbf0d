"""Images from arrays and folders, changed at random as they are read. https://keras.io/2.16/api/preprocessing/image/

New programs use `image_dataset_from_directory` and the layers RandomFlip, RandomRotation and so on.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator as Iteration
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graphc.preprocessing.affine import (
    apply_affine_transform,
    apply_brightness_shift,
    apply_channel_shift,
    random_brightness,
    random_channel_shift,
    random_rotation,
    random_shear,
    random_shift,
    random_zoom,
)
from graphc.sources.pydataset import PyDataset
from graphc.utils.images import array_to_img, img_to_array, load_img, save_img, smart_resize
from graphc.utils.labels import to_categorical

__all__ = ["DirectoryIterator", "ImageDataGenerator", "Iterator", "NumpyArrayIterator", "apply_affine_transform",
           "apply_brightness_shift", "apply_channel_shift", "array_to_img", "img_to_array", "load_img",
           "random_brightness", "random_channel_shift", "random_rotation", "random_shear", "random_shift",
           "random_zoom", "save_img", "smart_resize"]

_FORMATS = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff")


class ImageDataGenerator:
    """Changes images at random: turns, shifts, shears, zooms, flips, brightness, and then standardises them.

    `rotation_range` and `shear_range` are degrees; `width_shift_range` and `height_shift_range` are parts below 1,
    pixels from 1 on, or lists of pixels; `zoom_range` and `brightness_range` are pairs, or the zoom a distance from 1.
    `featurewise_center`, `featurewise_std_normalization` and `zca_whitening` need `fit`. With `validation_split` the
    first part of the data is the subset 'validation'. Random numbers come from NumPy's global generator.
    """

    def __init__(self, featurewise_center: bool = False, samplewise_center: bool = False,
                 featurewise_std_normalization: bool = False, samplewise_std_normalization: bool = False,
                 zca_whitening: bool = False, zca_epsilon: float = 1e-6, rotation_range: float = 0,
                 width_shift_range: Any = 0.0, height_shift_range: Any = 0.0, brightness_range: Any = None,
                 shear_range: float = 0.0, zoom_range: Any = 0.0, channel_shift_range: float = 0.0,
                 fill_mode: str = "nearest", cval: float = 0.0, horizontal_flip: bool = False,
                 vertical_flip: bool = False, rescale: float | None = None, preprocessing_function: Any = None,
                 data_format: str | None = None, validation_split: float = 0.0, interpolation_order: int = 1,
                 dtype: Any = None):
        if data_format not in (None, "channels_last"):
            raise ValueError(f"ImageDataGenerator(data_format={data_format!r}): expected 'channels_last'.")
        if validation_split and not 0 < validation_split < 1:
            raise ValueError(f"ImageDataGenerator(validation_split={validation_split!r}): expected a fraction between "
                             "0 and 1.")
        if brightness_range is not None and np.shape(brightness_range) != (2,):
            raise ValueError(f"ImageDataGenerator(brightness_range={brightness_range!r}): expected two numbers.")
        if np.shape(zoom_range) not in ((), (2,)):
            raise ValueError(f"ImageDataGenerator(zoom_range={zoom_range!r}): expected a number or two.")
        self.zoom_range = list(zoom_range) if np.shape(zoom_range) else [1 - zoom_range, 1 + zoom_range]
        # dividing by the deviation goes with taking away the mean, and whitening takes the place of the former
        self.featurewise_std_normalization = featurewise_std_normalization and not zca_whitening
        self.featurewise_center = featurewise_center or featurewise_std_normalization or zca_whitening
        self.samplewise_center = samplewise_center or samplewise_std_normalization
        self.samplewise_std_normalization = samplewise_std_normalization
        self.zca_whitening, self.zca_epsilon = zca_whitening, zca_epsilon
        self.rotation_range, self.shear_range = rotation_range, shear_range
        self.width_shift_range, self.height_shift_range = width_shift_range, height_shift_range
        self.brightness_range, self.channel_shift_range = brightness_range, channel_shift_range
        self.fill_mode, self.cval, self.interpolation_order = fill_mode, cval, interpolation_order
        self.horizontal_flip, self.vertical_flip = horizontal_flip, vertical_flip
        self.rescale, self.preprocessing_function = rescale, preprocessing_function
        self.validation_split, self.dtype = validation_split, dtype or "float32"
        self.mean: np.ndarray | None = None
        self.std: np.ndarray | None = None
        self.zca_whitening_matrix: np.ndarray | None = None

    def flow(self, x: Any, y: Any = None, batch_size: int = 32, shuffle: bool = True, sample_weight: Any = None,
             seed: int | None = None, save_to_dir: Any = None, save_prefix: str = "", save_format: str = "png",
             ignore_class_split: bool = False, subset: str | None = None) -> NumpyArrayIterator:
        """Batches of changed images x (n,height,width,channels), with their labels and weights where there are any."""
        return NumpyArrayIterator(x, y, self, batch_size, shuffle, sample_weight, seed, None, save_to_dir, save_prefix,
                                  save_format, subset, ignore_class_split)

    def flow_from_directory(self, directory: Any, target_size: tuple[int, int] = (256, 256), color_mode: str = "rgb",
                            classes: Sequence[str] | None = None, class_mode: str | None = "categorical",
                            batch_size: int = 32, shuffle: bool = True, seed: int | None = None,
                            save_to_dir: Any = None, save_prefix: str = "", save_format: str = "png",
                            follow_links: bool = False, subset: str | None = None, interpolation: str = "nearest",
                            keep_aspect_ratio: bool = False) -> DirectoryIterator:
        """Batches of changed images from a folder that has one folder for each class. Needs Pillow."""
        return DirectoryIterator(directory, self, target_size, color_mode, classes, class_mode, batch_size, shuffle,
                                 seed, None, save_to_dir, save_prefix, save_format, follow_links, subset, interpolation,
                                 keep_aspect_ratio)

    def fit(self, x: Any, augment: bool = False, rounds: int = 1, seed: int | None = None) -> None:
        """Find mean, deviation and whitening of images, or with `augment` of so many rounds of changed ones."""
        images = np.array(x, self.dtype)
        if images.ndim != 4:
            raise ValueError(f"ImageDataGenerator.fit received the shape {images.shape}, expected images (n, height, "
                             "width, channels).")
        if seed is not None:
            np.random.seed(seed)
        if self.rescale:
            images *= self.rescale
        if augment:
            images = np.concatenate([[self.random_transform(image) for image in images] for _ in range(rounds)])
        if self.featurewise_center:
            self.mean = images.mean((0, 1, 2)).reshape(1, 1, -1)
            images = images - self.mean
        if self.featurewise_std_normalization:
            self.std = images.std((0, 1, 2)).reshape(1, 1, -1)
        if self.zca_whitening:
            u, s, _ = np.linalg.svd(images.reshape(len(images), -1).T, full_matrices=False)
            self.zca_whitening_matrix = (u * (np.sqrt(len(images)) / (s + self.zca_epsilon))) @ u.T

    def standardize(self, x: np.ndarray) -> np.ndarray:
        """One image scaled, centred and divided as the options say."""
        image = np.asarray(self.preprocessing_function(x) if self.preprocessing_function else x)
        image = image * self.rescale if self.rescale else image
        image = image - image.mean() if self.samplewise_center else image
        image = image / (image.std() + 1e-6) if self.samplewise_std_normalization else image
        if self.featurewise_center:
            if self.mean is None:
                raise ValueError("This ImageDataGenerator needs the mean of the data: call its `fit` with them first.")
            image = image - self.mean
        if self.std is not None:
            image = image / (self.std + 1e-6)
        if self.zca_whitening_matrix is not None:
            image = (image.reshape(-1) @ self.zca_whitening_matrix).reshape(image.shape)
        return image.astype(self.dtype)

    def get_random_transform(self, img_shape: tuple[int, ...], seed: int | None = None) -> dict[str, Any]:
        """The changes of one image, drawn at random."""
        if seed is not None:
            np.random.seed(seed)
        rotation = np.random.uniform(-self.rotation_range, self.rotation_range) if self.rotation_range else 0
        down, right = _shift(self.height_shift_range, img_shape[0]), _shift(self.width_shift_range, img_shape[1])
        shear = np.random.uniform(-self.shear_range, self.shear_range) if self.shear_range else 0
        zx, zy = (1, 1) if self.zoom_range == [1, 1] else np.random.uniform(self.zoom_range[0], self.zoom_range[1], 2)
        horizontal, vertical = np.random.random() < 0.5, np.random.random() < 0.5
        shift = self.channel_shift_range
        return {"theta": rotation, "tx": right, "ty": down, "shear": shear, "zx": zx, "zy": zy,
                "flip_horizontal": horizontal and self.horizontal_flip,
                "flip_vertical": vertical and self.vertical_flip,
                "channel_shift_intensity": np.random.uniform(-shift, shift) if shift else None,
                "brightness": np.random.uniform(*self.brightness_range) if self.brightness_range is not None else None}

    def apply_transform(self, x: np.ndarray, transform_parameters: dict[str, Any]) -> np.ndarray:
        """One image changed as `get_random_transform` says."""
        given = transform_parameters
        moves = {name: given[name] for name in ("theta", "tx", "ty", "shear", "zx", "zy") if name in given}
        image = apply_affine_transform(x, **moves, row_axis=0, col_axis=1, channel_axis=2, fill_mode=self.fill_mode,
                                       cval=self.cval, order=self.interpolation_order)
        if given.get("channel_shift_intensity") is not None:
            image = apply_channel_shift(image, given["channel_shift_intensity"], 2)
        image = image[:, ::-1] if given.get("flip_horizontal") else image
        image = image[::-1] if given.get("flip_vertical") else image
        return apply_brightness_shift(image, given["brightness"], False) if given.get("brightness") is not None \
            else image

    def random_transform(self, x: np.ndarray, seed: int | None = None) -> np.ndarray:
        """One image changed at random."""
        return self.apply_transform(x, self.get_random_transform(x.shape, seed))

    def prepared(self, x: np.ndarray) -> np.ndarray:
        """One image changed at random and standardised."""
        return self.standardize(self.random_transform(x))


def _shift(extent: Any, pixels: int) -> float:
    """A shift in pixels within a range."""
    if not np.any(extent):
        return 0
    if np.ndim(extent) or isinstance(extent, int):
        moved = np.random.choice(extent) * np.random.choice([-1, 1])
    else:
        moved = np.random.uniform(-extent, extent)
    return moved * pixels if np.max(extent) < 1 else moved


class Iterator(PyDataset):
    """Batches of rows, in a new order in each epoch with `shuffle`; a loop over it goes on for ever.

    A subclass says what a batch of rows is: `_get_batches_of_transformed_samples(index_array)`.
    """

    def __init__(self, n: int, batch_size: int, shuffle: bool, seed: int | None, **options: Any):
        super().__init__(**options)
        self.n, self.batch_size, self.shuffle, self.seed = n, batch_size, shuffle, seed
        self.total_batches_seen = self.batch_index = 0
        self.index_array: np.ndarray | None = None

    def __len__(self) -> int:
        return -(-self.n // self.batch_size)

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(f"There is no batch {index} of {len(self)}.")
        return self._batch(index, self.index_array is None)

    def on_epoch_end(self) -> None:
        """Draw the order of the next epoch."""
        self.index_array = np.random.permutation(self.n) if self.shuffle else np.arange(self.n)

    def reset(self) -> None:
        """Begin with the first batch again."""
        self.batch_index = 0

    def __iter__(self) -> Iteration[Any]:
        return self

    def __next__(self) -> Any:
        index, self.batch_index = self.batch_index, (self.batch_index + 1) % len(self)
        return self._batch(index, index == 0)

    next = __next__

    def _batch(self, index: int, first: bool) -> Any:
        if self.seed is not None:
            np.random.seed(self.seed + self.total_batches_seen)
        self.total_batches_seen += 1
        if first:
            self.on_epoch_end()
        rows = self.index_array[self.batch_size * index:self.batch_size * (index + 1)]  # type: ignore[index]
        return self._get_batches_of_transformed_samples(rows)

    def _get_batches_of_transformed_samples(self, index_array: np.ndarray) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no _get_batches_of_transformed_samples: define it.")

    def _save(self, images: np.ndarray, rows: np.ndarray) -> None:
        """Write images to the folder that was asked for."""
        folder, prefix, ending = self.save_to  # type: ignore[attr-defined]
        if folder:
            for image, row in zip(images, rows, strict=True):
                save_img(os.path.join(folder, f"{prefix}_{row}_{np.random.randint(10**7)}.{ending}"), image)


class NumpyArrayIterator(Iterator):
    """Batches of images in an array. See ImageDataGenerator.flow."""

    def __init__(self, x: Any, y: Any, image_data_generator: ImageDataGenerator, batch_size: int = 32,
                 shuffle: bool = False, sample_weight: Any = None, seed: int | None = None,
                 data_format: str | None = None, save_to_dir: Any = None, save_prefix: str = "",
                 save_format: str = "png", subset: str | None = None, ignore_class_split: bool = False,
                 dtype: Any = None, **options: Any):
        images, *others = x if isinstance(x, tuple | list) else (x,)
        images = np.asarray(images)
        others = [np.asarray(o) for o in (others[0] if others and isinstance(others[0], list) else others)]
        if images.ndim != 4:
            raise ValueError(f"flow received the shape {images.shape}, expected images (n, height, width, channels).")
        parts = [images, *others, *(np.asarray(a) for a in (y, sample_weight) if a is not None)]
        if len({len(a) for a in parts}) > 1:
            raise ValueError(f"flow received {', '.join(str(len(a)) for a in parts)} rows, expected as many labels and "
                             "weights as images.")
        if subset is not None:
            parts = _subset(parts, subset, image_data_generator.validation_split,
                            None if y is None or ignore_class_split else np.asarray(y))
        self.x, rest = parts[0], parts[1:]
        self.x_misc, rest = rest[:len(others)], rest[len(others):]
        self.y = rest.pop(0) if y is not None else None
        self.sample_weight = rest.pop(0) if sample_weight is not None else None
        self.image_data_generator, self.save_to = image_data_generator, (save_to_dir, save_prefix, save_format)
        super().__init__(len(self.x), batch_size, shuffle, seed, **options)

    def _get_batches_of_transformed_samples(self, index_array: np.ndarray) -> Any:
        generator = self.image_data_generator
        images = np.array([generator.prepared(self.x[i].astype(generator.dtype)) for i in index_array])
        self._save(images, index_array)
        x: Any = [images, *(other[index_array] for other in self.x_misc)] if self.x_misc else images
        batch = (x, *(a[index_array] for a in (self.y, self.sample_weight) if a is not None))
        return batch if len(batch) > 1 else x


def _subset(arrays: list[np.ndarray], subset: str, part: float, labels: np.ndarray | None) -> list[np.ndarray]:
    """The first part of the rows for validation, the rest for training."""
    if subset not in ("training", "validation"):
        raise ValueError(f"flow(subset={subset!r}): expected 'training' or 'validation'.")
    at = int(len(arrays[0]) * part)
    if labels is not None and not np.array_equal(np.unique(labels[:at]), np.unique(labels[at:])):
        raise ValueError("flow: the two subsets have different classes. Shuffle the data first, or pass "
                         "ignore_class_split=True.")
    return [a[:at] if subset == "validation" else a[at:] for a in arrays]


class DirectoryIterator(Iterator):
    """Batches of images in folders, with `classes`, `class_indices` and `filenames`.

    See ImageDataGenerator.flow_from_directory.
    """

    def __init__(self, directory: Any, image_data_generator: ImageDataGenerator,
                 target_size: tuple[int, int] = (256, 256), color_mode: str = "rgb",
                 classes: Sequence[str] | None = None, class_mode: str | None = "categorical", batch_size: int = 32,
                 shuffle: bool = True, seed: int | None = None, data_format: str | None = None, save_to_dir: Any = None,
                 save_prefix: str = "", save_format: str = "png", follow_links: bool = False,
                 subset: str | None = None, interpolation: str = "nearest", keep_aspect_ratio: bool = False,
                 dtype: Any = None, **options: Any):
        if class_mode not in ("categorical", "binary", "sparse", "input", None):
            raise ValueError(f"flow_from_directory(class_mode={class_mode!r}): expected 'categorical', 'binary', "
                             "'sparse', 'input' or None.")
        if subset not in (None, "training", "validation"):
            raise ValueError(f"flow_from_directory(subset={subset!r}): expected 'training' or 'validation'.")
        names = list(classes or sorted(p.name for p in Path(directory).iterdir() if p.is_dir()))
        self.directory, self.image_data_generator = directory, image_data_generator
        self.class_mode, self.save_to = class_mode, (save_to_dir, save_prefix, save_format)
        self._reading: dict[str, Any] = {"color_mode": color_mode, "target_size": tuple(target_size),
                                         "interpolation": interpolation, "keep_aspect_ratio": keep_aspect_ratio}
        self.class_indices, self.num_classes = {name: i for i, name in enumerate(names)}, len(names)
        part = image_data_generator.validation_split
        self.filenames: list[str] = []
        numbers: list[int] = []
        for i, name in enumerate(names):
            files = list(_image_files(Path(directory), name, follow_links))
            at = int(part * len(files))
            files = {None: files, "validation": files[:at], "training": files[at:]}[subset]
            self.filenames += files
            numbers += [i] * len(files)
        self.classes, self.samples = np.array(numbers, np.int32), len(numbers)
        self.filepaths = [os.path.join(directory, name) for name in self.filenames]
        print(f"Found {self.samples} images belonging to {self.num_classes} classes.", file=sys.stderr)
        super().__init__(self.samples, batch_size, shuffle, seed, **options)

    labels = property(lambda self: self.classes, doc="The number of each file's class.")

    def _get_batches_of_transformed_samples(self, index_array: np.ndarray) -> Any:
        read = (img_to_array(load_img(self.filepaths[i], **self._reading)) for i in index_array)
        images = np.array([self.image_data_generator.prepared(image) for image in read])
        self._save(images, index_array)
        if self.class_mode is None:
            return images
        if self.class_mode == "input":
            return images, images.copy()
        numbers = self.classes[index_array]
        wide = self.class_mode == "categorical"
        return images, to_categorical(numbers, self.num_classes) if wide else numbers.astype(np.float32)


def _image_files(directory: Path, name: str, follow_links: bool) -> Iteration[str]:
    """The images of one class, by their paths from the directory."""
    for root, _, files in sorted(os.walk(directory / name, followlinks=follow_links)):
        for file in sorted(files):
            if file.lower().endswith(_FORMATS):
                yield os.path.relpath(os.path.join(root, file), directory)
