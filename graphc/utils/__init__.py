"""Labels, files, data sets from folders, images, registered classes, seeds. https://keras.io/api/utils/"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphc.lazy import lazy

if TYPE_CHECKING:
    from graphc.descriptions import deserialize_keras_object, serialize_keras_object
    from graphc.padding import pad_sequences
    from graphc.plotting import model_to_dot, plot_model
    from graphc.progress import Progbar
    from graphc.registry import (
        CustomObjectScope,
        custom_object_scope,
        get_custom_objects,
        get_registered_name,
        get_registered_object,
        register_keras_serializable,
    )
    from graphc.sources.pydataset import PyDataset
    from graphc.sources.pydataset import PyDataset as Sequence
    from graphc.utils.datasets import (
        BatchDataset,
        image_dataset_from_directory,
        text_dataset_from_directory,
        timeseries_dataset_from_array,
    )
    from graphc.utils.files import get_file
    from graphc.utils.images import array_to_img, img_to_array, load_img, save_img, smart_resize
    from graphc.utils.labels import normalize, to_categorical
    from graphc.utils.session import clear_session, is_keras_tensor, set_random_seed, standardize_dtype
    from graphc.utils.splitting import pack_x_y_sample_weight, split_dataset, unpack_x_y_sample_weight

_NAMES = {
    "CustomObjectScope": "graphc.registry", "custom_object_scope": "graphc.registry",
    "get_custom_objects": "graphc.registry", "get_registered_name": "graphc.registry",
    "get_registered_object": "graphc.registry", "register_keras_serializable": "graphc.registry",
    "BatchDataset": "graphc.utils.datasets", "image_dataset_from_directory": "graphc.utils.datasets",
    "text_dataset_from_directory": "graphc.utils.datasets", "timeseries_dataset_from_array": "graphc.utils.datasets",
    "array_to_img": "graphc.utils.images", "img_to_array": "graphc.utils.images", "load_img": "graphc.utils.images",
    "save_img": "graphc.utils.images", "smart_resize": "graphc.utils.images",
    "deserialize_keras_object": "graphc.descriptions", "serialize_keras_object": "graphc.descriptions",
    "clear_session": "graphc.utils.session", "is_keras_tensor": "graphc.utils.session",
    "set_random_seed": "graphc.utils.session", "standardize_dtype": "graphc.utils.session",
    "get_file": "graphc.utils.files", "model_to_dot": "graphc.plotting", "plot_model": "graphc.plotting",
    "Progbar": "graphc.progress", "PyDataset": "graphc.sources.pydataset",
    "Sequence": "graphc.sources.pydataset:PyDataset",  # its name in Keras 2
    "pad_sequences": "graphc.padding",
    "normalize": "graphc.utils.labels", "to_categorical": "graphc.utils.labels",
    "pack_x_y_sample_weight": "graphc.utils.splitting", "split_dataset": "graphc.utils.splitting",
    "unpack_x_y_sample_weight": "graphc.utils.splitting",
}

__all__ = [
    "BatchDataset", "CustomObjectScope", "Progbar", "PyDataset", "Sequence", "array_to_img", "clear_session",
    "custom_object_scope", "deserialize_keras_object", "get_custom_objects", "get_file", "get_registered_name",
    "get_registered_object", "image_dataset_from_directory", "img_to_array", "is_keras_tensor", "load_img",
    "model_to_dot", "normalize", "pack_x_y_sample_weight", "pad_sequences", "plot_model",
    "register_keras_serializable", "save_img", "serialize_keras_object", "set_random_seed", "smart_resize",
    "split_dataset", "standardize_dtype", "text_dataset_from_directory", "timeseries_dataset_from_array",
    "to_categorical", "unpack_x_y_sample_weight",
]

__getattr__, __dir__ = lazy(__name__, names=_NAMES)
