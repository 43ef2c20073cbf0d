"""Rules that keep precision: a logarithm meets the exponential that it undoes before rounding loses it.

They run on the forward graph, so that the gradient of a crossentropy is `probability - label`, with no
division by a probability. Losses clip probabilities to [eps, 1 - eps]; the logits need no such guard.
"""

from __future__ import annotations

from graphc.ir import functions as f
from graphc.ir.graph import Value
from graphc.ir.ops.elementwise import Divide, Log, Maximum, Minimum, Sigmoid, Subtract
from graphc.ir.ops.reduction import Sum
from graphc.ir.ops.rowwise import Softmax
from graphc.passes.rewrite import Rule, rule
from graphc.passes.rules.matching import is_number, number, spread_over

__all__ = ["RULES"]

_TINY = 1e-6  # the largest distance from 0 and 1 at which a clip only guards a logarithm


@rule(Divide, exact=False)
def softmax_over_its_sum(value: Value) -> Value | None:
    """softmax(z) / sum(softmax(z)) = softmax(z): it sums to 1 already.

    z: f32[4,3] => divide(softmax(z), sum(softmax(z), -1, keepdims=True))
    z: f32[2,4,3] => divide(softmax(z, 1), sum(softmax(z, 1), 1, keepdims=True))
    """
    p, total = value.operands
    if isinstance(p.op, Softmax):
        match spread_over(total, p.op.axis):
            case Value(Sum((axis,)), (same,)) if same is p and axis == p.op.axis:
                return p
    return None


@rule(Log, exact=False)
def log_of_softmax(value: Value) -> Value | None:
    """log(clip(softmax(z))) = z - logsumexp(z), finite where the softmax rounds to 0.

    z: f32[4,3] => log(softmax(z))
    z: f32[4,3] => log(clip(softmax(z), 1e-7, 1 - 1e-7))
    """
    match _unclipped(value.operands[0]):
        case Value(Softmax(axis), (z,)):
            return f.log_softmax(z, axis)
    return None


@rule(Log, exact=False)
def log_of_sigmoid(value: Value) -> Value | None:
    """log(clip(sigmoid(z))) = -softplus(-z).

    z: f32[4] => log(sigmoid(z))
    z: f32[4] => log(clip(sigmoid(z), 1e-7, 1 - 1e-7))
    """
    match _unclipped(value.operands[0]):
        case Value(Sigmoid(), (z,)):
            return f.negative(f.softplus(f.negative(z)))
    return None


@rule(Log, exact=False)
def log_of_1_minus_sigmoid(value: Value) -> Value | None:
    """log(1 - clip(sigmoid(z))) = -softplus(z).

    z: f32[4] => log(1.0 - sigmoid(z))
    z: f32[4] => log(1.0 - clip(sigmoid(z), 1e-7, 1 - 1e-7))
    """
    match value.operands[0]:
        case Value(Subtract(), (one, p)) if is_number(one, 1):
            match _unclipped(p):
                case Value(Sigmoid(), (z,)):
                    return f.negative(f.softplus(z))
    return None


def _unclipped(value: Value) -> Value:
    """The probability under limits that only guard a logarithm."""
    for op, harmless in ((Minimum, lambda n: n >= 1 - _TINY), (Maximum, lambda n: n <= _TINY)) * 2:
        if isinstance(value.op, op):
            for x, limit in (value.operands, value.operands[::-1]):
                n = number(limit)
                if n is not None and harmless(n):
                    value = x
                    break
    return value


RULES: tuple[Rule, ...] = (softmax_over_its_sum, log_of_softmax, log_of_sigmoid, log_of_1_minus_sigmoid)
