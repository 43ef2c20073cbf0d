"""Callbacks that watch one number of the logs."""

from __future__ import annotations

import warnings
from typing import Any

from graphc.callbacks.callback import Callback
from graphc.names import choose

__all__ = ["MonitorCallback"]

# metrics that are better when they are larger, by the names of their classes
_RISING = frozenset((
    "Accuracy", "BinaryAccuracy", "CategoricalAccuracy", "SparseCategoricalAccuracy", "TopKCategoricalAccuracy",
    "SparseTopKCategoricalAccuracy", "Precision", "Recall", "AUC", "SensitivityAtSpecificity",
    "SpecificityAtSensitivity", "PrecisionAtRecall", "RecallAtPrecision", "F1Score", "FBetaScore", "R2Score",
    "CosineSimilarity", "IoU", "BinaryIoU", "MeanIoU", "OneHotIoU", "OneHotMeanIoU", "PearsonCorrelation",
    "ConcordanceCorrelation", "TruePositives", "TrueNegatives"))
_OTHER_NAMES = {"acc": "accuracy", "val_acc": "val_accuracy", "accuracy": "acc", "val_accuracy": "val_acc",
                "lr": "learning_rate"}  # of Keras 2
_FALLING = ("loss", "error", "mse", "mae", "mape", "msle", "rmse", "crossentropy", "divergence", "hinge", "poisson",
            "log_cosh", "logcosh", "huber", "false_positives", "false_negatives")
_RISING_NAMES = ("acc", "accuracy", "precision", "recall", "auc", "f1", "f1_score", "fbeta_score", "r2", "r2_score",
                 "iou", "mean_io_u", "cosine_similarity", "true_positives", "true_negatives")


class MonitorCallback(Callback):
    """Base of callbacks that compare a monitored number with the best one so far.

    `mode` 'auto' takes the direction from the compiled metric of that name.
    """

    def __init__(self, monitor: str = "val_loss", mode: str = "auto", baseline: float | None = None,
                 min_delta: float = 0):
        self.monitor, self.best, self.min_delta = monitor, baseline, abs(min_delta)
        self.mode = choose("mode", mode, {m: m for m in ("auto", "min", "max")})

    def value(self, logs: dict[str, Any], consequence: str) -> Any:
        """The monitored number; None, with a warning that names the consequence, where there is none."""
        name = self.monitor if self.monitor in logs else _OTHER_NAMES.get(self.monitor, self.monitor)
        if name not in logs:
            warnings.warn(f"{type(self).__name__} watches {self.monitor!r}, which is not among {sorted(logs)}: "
                          f"{consequence}. Pass validation_data or validation_split, or another `monitor`.",
                          stacklevel=3)
        return logs.get(name)

    def improves(self, value: float, reference: float | None) -> bool:
        """Whether a value is better than another by more than `min_delta`; any is better than None."""
        if reference is None:
            return True
        if self._rises():
            return value - self.min_delta > reference
        return value + self.min_delta < reference

    def _rises(self) -> bool:
        if self.mode != "auto":
            return self.mode == "max"
        name = self.monitor.removeprefix("val_")
        if name == "loss":
            return False
        for metric in getattr(self.model, "metrics", None) or ():
            known = getattr(metric, "name", None)
            if known == name or (known and name.endswith(f"_{known}")):  # of several outputs
                if (direction := getattr(metric, "_direction", None)) is not None:
                    return direction == "up"
                if type(metric).__name__ in _RISING:
                    return True
        for endings, up in ((_RISING_NAMES, True), (_FALLING, False)):
            if any(name == e or name.endswith(f"_{e}") for e in endings):
                return up
        raise ValueError(f"{type(self).__name__}(monitor={self.monitor!r}): it is not known whether larger or smaller "
                         "values of this metric are better. Pass mode='max' or mode='min'.")
