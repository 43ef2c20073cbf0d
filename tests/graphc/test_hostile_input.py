"""Data and options as nobody should give them: both backends give the same result or the same error, nobody crashes,
and the caller's arrays stay as they are.

A case is a model, a call, and a mutation of the inputs, labels or weights; there is one of each kind, and random ones
in which several are changed at once.
"""

from __future__ import annotations

import copy
import itertools
import warnings

import numpy as np
import pytest
from samples import each

import graphc
from graphc import layers
from graphc.ir.errors import GraphcError

ROWS = 8
NAN = float("nan")


# Models --------------------------------------------------------------------------------------------------------

def mlp():
    return graphc.Sequential([graphc.Input((4,), name="in"), layers.Dense(8, activation="relu", name="a"),
                              layers.Dense(3, activation="softmax", name="b")], name="mlp")


def regression():
    return graphc.Sequential([graphc.Input((4,), name="in"), layers.Dense(8, activation="tanh", name="a"),
                              layers.Dense(1, name="b")], name="regression")


def cnn():
    return graphc.Sequential([
        graphc.Input((6, 6, 2), name="in"), layers.Conv2D(3, 3, activation="relu", name="c"),
        layers.MaxPooling2D(2, name="p"), layers.Flatten(name="f"), layers.Dense(3, name="b")], name="cnn")


def lstm():
    return graphc.Sequential([
        graphc.Input((5,), dtype="int32", name="in"), layers.Embedding(10, 4, name="e"), layers.LSTM(4, name="l"),
        layers.Dense(3, activation="softmax", name="b")], name="lstm")


def two():
    a, b = graphc.Input((4,), name="ia"), graphc.Input((3,), name="ib")
    return graphc.Model([a, b], layers.Dense(2, name="o")(layers.Concatenate(name="both")([a, b])), name="two")


def lengths():
    return graphc.Sequential([
        graphc.Input((None, 2), name="in"), layers.Conv1D(3, 3, padding="same", name="c"),
        layers.GlobalAveragePooling1D(name="g"), layers.Dense(1, name="b")], name="lengths")


# what makes each model, its loss, the shape of an input's rows (numbers below 10 for words), and of its labels'
MODELS = {
    mlp: ("sparse_categorical_crossentropy", (4,), 3), regression: ("mse", (4,), (1,)), cnn: ("mse", (6, 6, 2), (3,)),
    lstm: ("sparse_categorical_crossentropy", (5,), 3), two: ("mse", (4,), (2,)), lengths: ("mse", (7, 2), (1,)),
}

CALLS = {
    "fit": lambda m, x, y, w, **o: m.fit(x, y, **{"sample_weight": w, "verbose": 0} | o).history,
    "evaluate": lambda m, x, y, w, **o: m.evaluate(x, y, **{"sample_weight": w, "verbose": 0} | o),
    "predict": lambda m, x, y, w, **o: m.predict(x, **{"verbose": 0} | o),
    "train_on_batch": lambda m, x, y, w: m.train_on_batch(x, y, w),
    "test_on_batch": lambda m, x, y, w: m.test_on_batch(x, y, w),
    "predict_on_batch": lambda m, x, y, w: m.predict_on_batch(x),
    "call": lambda m, x, y, w: m(x),
}


# Mutations -----------------------------------------------------------------------------------------------------

def with_number(number):
    def change(a):
        a = np.array(a, np.result_type(a, type(number)))
        if a.size:
            a.flat[a.size // 2] = number
        return a
    return change


def with_object(thing):
    def change(a):
        a = a.astype(object)
        if a.size:
            a.flat[0] = thing
        return a
    return change


def misaligned(a):
    raw = np.zeros(a.nbytes + 1, np.uint8)
    moved = raw[1:].view(a.dtype).reshape(a.shape)
    moved[...] = a
    return moved


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def ragged(a):
    rows = a.tolist()
    if rows and isinstance(rows[0], list):
        rows[0] = rows[0][:-1]
    return rows


def frame(change=lambda frame: frame):
    def made(a):
        pandas = pytest.importorskip("pandas", reason="frames need pandas")
        return change(pandas.DataFrame(a.astype("float64"))) if 0 < a.ndim <= 2 and a.size else a
    return made


def with_column(f):
    f["text"] = "x"
    return f


def with_nothing(f):
    f = f.astype(object)
    f.iloc[0, 0] = pytest.importorskip("pandas").NA
    return f


class Subclass(np.ndarray):
    pass


MUTATIONS = {
    "as it is": lambda a: a,
    **{f"with {n}": with_number(n) for n in (NAN, float("inf"), float("-inf"), 1e300, -1, 10, 2**31, 2**32 + 1, 2**40,
                                             -2**63)},
    "all NaN": lambda a: np.full(a.shape, NAN), "subnormal": lambda a: np.full(a.shape, 1e-42, "float32"),
    "one class": np.zeros_like, "fractions": lambda a: a + 0.5,
    "the largest": lambda a: np.full(a.shape, 2**64 - 1, np.uint64),
    **{name: lambda a, name=name: a.astype(name) for name in (
        "float16", "float64", "longdouble", "int8", "int16", "int64", "bool", "str", "bytes", "object", "complex",
        ">f8", ">i4")},
    **{name: lambda a, name=name: np.abs(a).astype(name) for name in ("uint8", "uint16", "uint32", "uint64")},
    "times": lambda a: np.abs(a).astype("int64").astype("datetime64[s]"),
    "spans of time": lambda a: a.astype("int64").astype("timedelta64[s]"),
    "structured": lambda a: np.zeros(a.shape, [("p", "f4"), ("q", "i4")]), "void": lambda a: np.zeros(a.shape, "V4"),
    "with None": with_object(None), "with text": with_object("x"), "with a list": with_object([1, 2]),
    "masked": lambda a: np.ma.masked_array(a, np.arange(a.size).reshape(a.shape) % 3 == 0),
    "nothing masked": np.ma.masked_array, "matrix": lambda a: np.asmatrix(a) if a.ndim == 2 else a,
    "subclass": lambda a: a.view(Subclass), "memoryview": lambda a: memoryview(np.ascontiguousarray(a)),
    "frame": frame(), "frame with NaN": frame(lambda f: f.mask(f > f.iloc[0, 0])),
    "frame with NA": frame(with_nothing), "frame with text": frame(with_column),
    "frame of Int64": frame(lambda f: f.round().astype("Int64")),
    "list": np.ndarray.tolist, "tuple": lambda a: tuple(a.tolist()), "list of arrays": list, "ragged": ragged,
    "every other row": lambda a: np.repeat(a, 2, 0)[::2] if a.ndim else a,
    "backwards": lambda a: a[::-1] if a.ndim else a, "backwards in a row": lambda a: a[..., ::-1] if a.ndim else a,
    "Fortran's order": np.asfortranarray, "transposed": lambda a: np.ascontiguousarray(a.T).T, "read-only": read_only,
    "misaligned": misaligned, "one row for all": lambda a: np.broadcast_to(a[:1], a.shape) if a.ndim else a,
    "swapped bytes": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "number": lambda a: 3.0, "array of no axes": lambda a: np.array(1.0), "whole number": lambda a: 7,
    "twice as wide": lambda a: np.concatenate([a, a], -1) if a.ndim else a,
    "an axis more": lambda a: a[..., None], "two axes more": lambda a: a[..., None, None],
    "an axis before": lambda a: a[None], "one sample": lambda a: a[0] if a.ndim and len(a) else a, "flat": np.ravel,
    "a row less": lambda a: a[:-1] if a.ndim else a, "no rows": lambda a: a[:0] if a.ndim else a,
    "a row more": lambda a: np.concatenate([a, a[:1]]) if a.ndim else a, "one row": lambda a: a[:1] if a.ndim else a,
    "no columns": lambda a: a[..., :0] if a.ndim else a, "empty list": lambda a: [], "empty lists": lambda a: [[]],
    "None": lambda a: None, "text": lambda a: "abc", "dict": lambda a: {"q": a}, "empty dict": lambda a: {},
    "set": lambda a: {1, 2}, "class": lambda a: Subclass, "in a list": lambda a: [a], "in a tuple": lambda a: (a,),
    "in two lists": lambda a: [[a]], "twice in a list": lambda a: [a, a],
}

OPTIONS = {
    "batch_size": [0, -1, 1, 3, 1.5, 2.0, True, None, 10**12, 2**64, "3", [4], NAN, float("inf"), np.int64(3),
                   np.float32(2)],
    "epochs": [0, -1, 2, 1.5, 2.0, True, None, "3", np.int64(2), NAN],
    "initial_epoch": [-1, 0, 1, 5, 1.5, True, "1", None],
    "steps_per_epoch": [0, -1, 1.5, True, 1, 2, 100, "1", NAN, np.int64(1)],
    "validation_split": [0, 1, 1.5, -0.1, 0.5, True, None, "0.5", NAN, 0.01, 1e-300, [0.5], np.float32(0.5)],
    "validation_batch_size": [0, -1, 2, 1.5, "2"], "validation_steps": [0, -1, 1, 1.5],
    "validation_freq": [0, -1, [], [1], 1.5, "1", None, {1}, True],
    "validation_data": [(), (1,), (1, 2, 3, 4), [], "abc", 5, (None, None), {}],
    "class_weight": [{}, {0: 1.0}, {0: 1, 1: 2, 2: 3, 7: 4}, {-1: 2.0}, {0: NAN}, {"0": 1.0}, {0: "a"}, [1, 2, 3], 1.0,
                     {0: None}, {1.5: 2.0}, {10**12: 1.0}, {NAN: 1.0}, "balanced", {None: 1.0}, {0: [1, 2]},
                     {(0,): 1.0}, np.ones(3)],
    "shuffle": ["batch", "x", None, 1, 0, NAN, []], "verbose": [-1, 5, None, "x", 1.5],
    "callbacks": [[], [None], 5, "x", {}],
    "sample_weight": [np.ones(3), np.ones((ROWS, 2)), "x", {"q": 1}, -np.ones(ROWS)],
}


# What both backends make of a case -----------------------------------------------------------------------------

def arrays_in(data):
    if isinstance(data, np.ndarray):
        yield data
    elif isinstance(data, dict):
        for part in data.values():
            yield from arrays_in(part)
    elif isinstance(data, list | tuple):
        for part in data:
            yield from arrays_in(part)
    elif hasattr(data, "to_numpy"):
        yield data.to_numpy()


def picture(data):
    """All that can be seen of the arrays in some data."""
    return [(a.tobytes() if a.dtype.kind != "O" else repr(a), a.shape, a.strides, a.dtype, a.flags.writeable)
            for a in arrays_in(data)]


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    lost = [~(np.abs(x) < 1e30) for x in (a, b)]  # what overflows depends on the order of sums
    a, b = (np.where(lost[0] | lost[1], 0, x) for x in (a, b))
    return np.array_equal(*lost) and np.allclose(a, b, 1e-4, 1e-5 * max(1, np.abs(a).max(initial=0)))


class Pair:
    """A model on each backend, with the same weights at the start of every case."""

    def __init__(self, make):
        self.make = make
        self.loss, self.row, self.label = MODELS[make]
        self.models = {}
        for backend in ("native", "numpy"):
            with graphc.config(backend=backend):
                self.models[backend] = make()
                self.models[backend].compile("sgd", self.loss)
        self.weights = self.models["native"].get_weights()

    def data(self, rng):
        """Inputs, labels and no weights that are all right."""
        if self.make is lstm:
            x = rng.integers(0, 10, (ROWS, *self.row)).astype("int32")
        else:
            x = rng.standard_normal((ROWS, *self.row)).astype("float32")
        y = rng.integers(0, self.label, ROWS) if isinstance(self.label, int) else rng.standard_normal(
            (ROWS, *self.label)).astype("float32")
        return x, y, None

    def arrange(self, x):
        """The data as the model takes them."""
        return [x, np.ones((ROWS, 3), "float32")] if self.make is two else x

    def agree(self, call, make, **options):
        """What both backends make of the data that `make()` gives: the error, or None."""
        outcomes = []
        for backend, model in self.models.items():
            x, y, w = make()
            before = picture([x, y, w, options])
            model.set_weights(self.weights)
            np.random.seed(0)
            with graphc.config(backend=backend), warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always")
                try:
                    result, error = CALLS[call](model, x, y, w, **options), None
                except Exception as e:
                    result, error = None, e
            assert picture([x, y, w, options]) == before, f"the caller's arrays have changed ({backend})"
            outcomes.append((result, error, [str(one.message) for one in warned], copy.deepcopy(model.get_weights())))
        (result, error, warned, weights), (other, its_error, its_warned, its_weights) = outcomes
        assert (type(error), str(error)) == (type(its_error), str(its_error))
        assert warned == its_warned
        if error is None:
            assert same(result, other)
            assert same(weights, its_weights)
        else:
            assert same(weights, self.weights), "an error came after a step"
        return error


@pytest.fixture(scope="module")
def pairs():
    graphc.utils.set_random_seed(0)
    return {make: Pair(make) for make in MODELS}


def is_clear(error):
    """Whether an error is graphc's own and says in one line what was received and what was expected."""
    text = str(error)
    return isinstance(error, GraphcError | ValueError) and "\n" not in text and len(text) < 500 and any(
        word in text for word in ("received", "expected", "must be")) and not text.startswith("call x")


@pytest.mark.parametrize("place", ["x", "y", "sample_weight"])
@pytest.mark.parametrize("make", each(3, MODELS), ids=lambda make: make.__name__)
def test_each_mutation(pairs, make, place, rng):
    pair = pairs[make]
    start = pair.data(rng)
    for (name, mutate), call in itertools.product(MUTATIONS.items(), CALLS):
        if place != "x" and call in ("predict", "predict_on_batch", "call"):
            continue

        def data(mutate=mutate):
            x, y, w = copy.deepcopy(start)
            if place == "x":
                x = mutate(x)
            elif place == "y":
                y = mutate(y)
            else:
                w = mutate(np.ones(ROWS, "float32"))
            return pair.arrange(x), y, w

        try:
            error = pair.agree(call, data)
            assert error is None or is_clear(error), repr(error)
        except AssertionError as failed:
            raise AssertionError(f"{call}, {place} {name!r}: {failed}") from failed


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("make", [mlp, regression], ids=lambda make: make.__name__)
def test_each_option(pairs, make, option, rng):
    pair = pairs[make]
    start = pair.data(rng)
    for value in OPTIONS[option]:
        for call in ["fit", *(["evaluate", "predict"] if option == "batch_size" else [])]:
            error = pair.agree(call, lambda: copy.deepcopy(start), **{option: value})
            assert error is None or is_clear(error) or option == "callbacks", (value, repr(error))


@pytest.mark.parametrize("make", each(3, MODELS), ids=lambda make: make.__name__)
def test_several_mutations_at_once(pairs, make, rng):
    pair, names = pairs[make], list(MUTATIONS)
    for _ in range(150):
        start = pair.data(rng)
        call = str(rng.choice(list(CALLS)))
        wanted = [str(name) for name in rng.choice(names, 3)]
        touched = rng.random(3) < 0.5
        options = {}
        if call == "fit":
            for option in rng.choice([o for o in OPTIONS if o not in ("sample_weight", "callbacks")], 2):
                options[str(option)] = OPTIONS[option][rng.integers(len(OPTIONS[option]))]

        def data(start=start, wanted=wanted, touched=touched):
            x, y, w = copy.deepcopy(start)
            w = np.ones(ROWS, "float32")
            x, y, w = (MUTATIONS[name](a) if touch else a
                       for name, a, touch in zip(wanted, (x, y, w), touched, strict=True))
            return pair.arrange(x), y, (w if touched[2] else None)

        try:
            pair.agree(call, data, **options)
        except AssertionError as failed:
            raise AssertionError(f"{call} {wanted} {touched} {options}: {failed}") from failed


def streams(x, y):
    """Generators that don't give what they should."""
    def stops():
        yield x, y
        raise StopIteration

    def fails():
        yield x, y
        raise ZeroDivisionError("own")

    batches = {
        "too little": [(x, y)], "no batch": [], "None": [None], "four items": [(x, y, None, None)], "no item": [()],
        "no rows": [(x[:0], y[:0])], "no rows in the middle": [(x, y), (x[:0], y[:0]), (x, y)],
        "other columns": [(x, y), (x[:, :2], y)], "fewer labels": [(x, y), (x, y[:3])],
        "other dtypes": [(x, y), (x.astype("float64"), y.astype("int16")), (x.astype("int32"), y)],
        "text": [(x, y), (x.astype(str), y)], "weights appear": [(x, y), (x, y, np.ones(len(x)))],
        "weights disappear": [(x, y, np.ones(len(x))), (x, y)], "no labels": [(x,)], "arrays": [x],
        "labels disappear": [(x, y), x], "a dict": [{"x": x, "y": y}], "a text": ["abc"], "a number": [3],
        "another rank": [(x, y), (x[None], y)], "fewer rows": [(x, y), (x[:3], y[:3]), (x[:1], y[:1])],
        "NaN": [(x, y), (x * NAN, y)], "another class": [(x, y), (x, y + 50)], "wrong weights": [(x, y, np.ones(3))],
        "lists": [(x.tolist(), y.tolist())] * 2,
    }
    return {name: lambda given=given: iter(given) for name, given in batches.items()} | {
        "stops": stops, "fails": fails}


@pytest.mark.parametrize("options", [{}, {"steps": 1}, {"steps": 2}], ids=str)
@pytest.mark.parametrize("call", ["fit", "evaluate", "predict"])
@pytest.mark.parametrize("name", each(3, streams(np.ones((2, 4)), np.ones(2))))
def test_generators(pairs, name, call, options, rng):
    pair = pairs[mlp]
    x, y, _ = pair.data(rng)
    if call == "fit":
        options = {"steps_per_epoch": options["steps"], "epochs": 2} if options else {}
    outcomes = []
    for backend, model in pair.models.items():
        model.set_weights(pair.weights)
        before = picture([x, y])
        with graphc.config(backend=backend), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                outcomes.append((CALLS[call](model, streams(x, y)[name](), None, None, **options), None))
            except Exception as error:
                assert is_clear(error) or (name in ("stops", "fails") and isinstance(
                    error, RuntimeError | ZeroDivisionError)), repr(error)
                outcomes.append((None, (type(error), str(error))))
        assert picture([x, y]) == before
    (result, error), (other, its_error) = outcomes
    assert error == its_error and (error is not None or same(result, other))


def test_data_of_another_length_in_each_epoch(pairs, rng):
    """What a source gives may change from epoch to epoch, also in its length."""
    pair = pairs[lengths]

    class Growing:
        def __init__(self):
            self.passes = 0

        def __iter__(self):
            self.passes += 1
            for k in range(self.passes):
                yield np.ones((4, 3 + k + self.passes, 2), "float32"), np.ones((4, 1), "float32")

    results = []
    for backend, model in pair.models.items():
        model.set_weights(pair.weights)
        with graphc.config(backend=backend):
            results.append(model.fit(Growing(), epochs=3, verbose=0).history)
    assert len(results[0]["loss"]) == 3 and same(*results)


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize(("call", "message"), [
    (lambda m: m.predict([np.ones((8, 4)), np.ones((5, 3))], verbose=0),
     "predict of 'two' received 8 rows in x and 5 in another input, expected the same number in all."),
    (lambda m: m([np.ones((8, 4)), np.ones((5, 3))]),
     "call of 'two' received 8 rows in x and 5 in another input, expected the same number in all."),
    (lambda m: m.predict([np.ma.masked_array(np.ones((8, 4)), np.eye(8, 4)), np.ones((8, 3))], verbose=0),
     "predict of 'two' received as x for the input 'ia' f64[8,4] with masked elements, expected numbers. Give them "
     "values with x.filled(value)."),
    (lambda m: m.fit([np.ones((8, 4)), np.ones((8, 3))], np.ones((8, 2)), class_weight=[1, 2], verbose=0),
     "fit of 'two' received class_weight=[1, 2], expected a dict of class numbers and their weights, as "
     "{0: 1.0, 1: 2.5}."),
    (lambda m: m.fit([np.ones((8, 4)), np.ones((8, 3))], np.ones((8, 2)), sample_weight={"q": 1}, verbose=0),
     "fit of 'two''s sample_weight received a dict of 'q', expected the outputs 'o': 'q' is none of them."),
    (lambda m: m.fit([np.ones((8, 4)), np.ones((8, 3))], np.ones((8, 2)), validation_split="0.5", verbose=0),
     "fit(validation_split='0.5'): expected a fraction between 0 and 1."),
])
def test_messages(pairs, backend, call, message):
    with graphc.config(backend=backend), pytest.raises((GraphcError, ValueError)) as caught:
        call(pairs[two].models[backend])
    assert str(caught.value) == message


def test_results_are_the_callers_own(pairs, rng):
    """A change of what was returned changes neither the model nor what is returned next."""
    pair = pairs[mlp]
    x, _, _ = pair.data(rng)
    for backend, model in pair.models.items():
        model.set_weights(pair.weights)
        with graphc.config(backend=backend):
            for call in (lambda m=model: m.predict(x, verbose=0), lambda m=model: m(x),
                         lambda m=model: m.predict_on_batch(x)):
                first = np.array(call())
                call()[...] = 9
                np.testing.assert_array_equal(call(), first)
            model.get_weights()[0][...] = 9
            assert same(model.get_weights(), pair.weights)
