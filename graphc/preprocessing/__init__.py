"""Sequences, texts and images made ready for a model: `sequence`, `text`, `image`. https://keras.io/api/data_loading/

`text` and most of the other two are what older releases had; new programs have layers and `utils` for that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphc.lazy import lazy

if TYPE_CHECKING:
    from graphc.preprocessing import image, sequence, text
    from graphc.utils import image_dataset_from_directory, text_dataset_from_directory, timeseries_dataset_from_array

__all__ = ["image", "image_dataset_from_directory", "sequence", "text", "text_dataset_from_directory",
           "timeseries_dataset_from_array"]

__getattr__, __dir__ = lazy(__name__, ["image", "sequence", "text"], {
    name: "graphc.utils" for name in __all__ if name.endswith(("_directory", "_array"))})
