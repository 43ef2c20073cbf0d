"""Time the MNIST CNN: a training step on 128 rows, and the prediction of one row.

    python benchmarks/mnist_cnn.py [threads] [turns]

All contenders have the same threads and cores and take turns, so that a slow moment of the machine hits all. Medians
are shown. The peak of fused multiply-adds is measured in the same run.
"""

import ctypes
import os
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor

THREADS, TURNS = (int(a) for a in (sys.argv[1:] + ["2", "5"][len(sys.argv) - 1:]))
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "GRAPHC_THREADS"):
    os.environ[variable] = str(THREADS)  # before NumPy is imported
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])

import numpy as np  # noqa: E402

import graphc  # noqa: E402
from graphc.runtime.targets.jit import compile_text  # noqa: E402
from graphc.runtime.targets.machine import Machine  # noqa: E402

BATCH = 128
CONV, CONV_1, DENSE = 2 * 26 * 26 * 32 * 9, 2 * 11 * 11 * 64 * 288, 2 * 1600 * 10  # operations of one row, forward
FLOPS = (BATCH * (2 * CONV + 3 * CONV_1 + 3 * DENSE), CONV + CONV_1 + DENSE)  # training, prediction


def peak():
    """Multiply-adds in registers on all threads at once, in GFLOP/s."""
    machine = Machine.host()
    chains, rounds, v = range(machine.registers - 4), 10_000_000, f"<{machine.lanes} x float>"
    fma = f"@llvm.fma.v{machine.lanes}f32"
    text = "\n".join([
        f"declare {v} {fma}({v}, {v}, {v})", "define void @peak(ptr %p, i64 %n) {", "entry:",
        f"%a = load {v}, ptr %p, align 4", "br label %loop", "loop:", "%i = phi i64 [0, %entry], [%j, %loop]",
        *(f"%x{k} = phi {v} [%a, %entry], [%y{k}, %loop]" for k in chains),
        *(f"%y{k} = call {v} {fma}({v} %x{k}, {v} %a, {v} %a)" for k in chains),
        "%j = add i64 %i, 1", "%more = icmp slt i64 %j, %n", "br i1 %more, label %loop, label %done", "done:",
        *(f"%q{k} = getelementptr {v}, ptr %p, i64 {k}\nstore {v} %y{k}, ptr %q{k}, align 4" for k in chains),
        "ret void", "}"])
    code = compile_text(text, "peak", machine)
    run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(code.address)
    buffers, best = [np.full((len(chains), machine.lanes), 0.5, np.float32) for _ in range(THREADS)], float("inf")
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in range(3):
            start = time.perf_counter()
            list(pool.map(lambda b: run(b.ctypes.data, rounds), buffers))
            best = min(best, time.perf_counter() - start)
    return 2 * len(chains) * machine.lanes * rounds * THREADS / best / 1e9


def keras_style(keras, x, y):
    layers = keras.layers
    model = keras.Sequential([
        keras.Input((28, 28, 1)), layers.Conv2D(32, 3, activation="relu"), layers.MaxPooling2D(),
        layers.Conv2D(64, 3, activation="relu"), layers.MaxPooling2D(), layers.Flatten(), layers.Dropout(0.5),
        layers.Dense(10, activation="softmax")])
    model.compile("adam", loss="categorical_crossentropy")
    return lambda: model.train_on_batch(x, y), lambda: model.predict_on_batch(x[:1])


def torch_style(torch, x, y):
    torch.set_num_threads(THREADS)
    nn, x, y = torch.nn, torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(y)
    model = nn.Sequential(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(),
                          nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.5), nn.Linear(1600, 10))
    adam, row = torch.optim.Adam(model.parameters()), x[:1]

    def train():
        adam.zero_grad()
        nn.functional.cross_entropy(model.train()(x), y).backward()
        adam.step()

    return train, torch.inference_mode()(lambda: model.eval()(row))


def contenders(x, y):
    yield "graphc", keras_style(graphc, x, y)
    with graphc.config(backend="numpy"):
        steps = keras_style(graphc, x, y)
        [step() for step in steps]  # programs keep the backend of their first call
    yield "graphc on NumPy", steps
    for name, style in (("keras", keras_style), ("torch", torch_style)):
        try:
            yield name, style(__import__(name), x, y)
        except ImportError as error:
            print(f"without {name}: {error}")


def sample(step, seconds=0.3):
    """Times of consecutive calls after one that warms up, in milliseconds."""
    step()
    times, end = [], time.perf_counter() + seconds
    while not times or (time.perf_counter() < end and len(times) < 50):
        start = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - start))
    return times


rng = np.random.default_rng(0)
images, labels = rng.random((BATCH, 28, 28, 1), np.float32), np.eye(10, dtype=np.float32)[rng.integers(0, 10, BATCH)]
taking_part, limit = dict(contenders(images, labels)), peak()
results = {name: ([], []) for name in taking_part}
for _ in range(TURNS):
    for name, steps in taking_part.items():
        for step, record in zip(steps, results[name], strict=True):
            record.extend(sample(step))
print(f"{THREADS} threads, FMA peak {limit:.0f} GFLOP/s, {TURNS} turns; milliseconds, ratio, part of the peak")
base = [statistics.median(record) for record in results["graphc"]]
for k, what in enumerate(("train 128 rows", "predict 1 row")):
    for name, records in results.items():
        ms = statistics.median(records[k])
        print(f"{what:15} {name:16}{ms:10.3f}{ms / base[k]:8.2f}{FLOPS[k] / ms / 1e6 / limit:8.1%}")
