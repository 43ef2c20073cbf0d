"""`graphc.diagnose`: find where the compiled code of a model and its meaning part ways."""

from __future__ import annotations

from typing import Any

from graphc.models import Model
from graphc.runtime.config import current
from graphc.runtime.diagnosis import Diagnosis, diagnose_graph

__all__ = ["diagnose"]

_ROWS = 19  # more than the lanes of the widest vectors, and no multiple of anything


def diagnose(model: Any, x: Any, y: Any = None, kind: str | None = None, sample_weight: Any = None) -> Diagnosis:
    """Check every rung from a model's step down to its native code, on one row of the data and on up to 19.

    `kind` is 'train', 'evaluate' or 'predict': with labels 'train', without 'predict', unless it is given. Printed, the
    result says what was checked and, where something is wrong, the first rung that is, the value, and a small graph
    that shows it. The model stays as it is. Data that don't fit raise as in `fit` or `predict`; faults of the
    compiler never raise.

        print(graphc.diagnose(model, x, y))
    """
    kind = kind or ("predict" if y is None else "train")
    if kind not in ("train", "evaluate", "predict"):
        raise ValueError(f"diagnose(kind={kind!r}): expected 'train', 'evaluate' or 'predict'.")
    if not isinstance(model, Model):
        raise TypeError(f"diagnose received {type(model).__name__}, expected a model.")
    graph, several = model.step_arrays("diagnose", kind, _ROWS, x, y, sample_weight)
    inputs = [v.op.label for v in graph.inputs]  # type: ignore[attr-defined]
    one = several | {label: several[label][:1] for label in inputs}
    batches = (one, several) if len(several[inputs[0]]) > 1 else (one,)
    return diagnose_graph(graph, *batches, cpu=current().cpu)
