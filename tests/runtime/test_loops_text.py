"""Loops as text: what is printed reads back to equal loops and code, and what is not loops is refused with its line."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
from kernels import TARGETS
from models import cnn
from samples import each
from test_fuzz import Shapes, random_graphs

import graphc
from graphc.ir import functions as f
from graphc.ir.errors import InvalidGraph, ParseError
from graphc.ir.expr import INFIX, SCALARS, Axis, axis, bitcast, cast, const, load, scalar, select, size
from graphc.ir.graph import Graph
from graphc.ir.types import DTYPES, dim
from graphc.passes.pipeline import PIPELINE, run
from graphc.runtime.loops import Barrier, Buffer, For, Loops, Prefetch, Store, Update, shared, verify_loops, walk
from graphc.runtime.lower import lower
from graphc.runtime.parser import parse_loops
from graphc.runtime.schedule import schedule
from graphc.runtime.targets.interpreter import interpret
from graphc.runtime.targets.llvm import emit
from graphc.runtime.targets.machine import Machine
from graphc.steps import trace_step

_spec = importlib.util.spec_from_file_location(
    "whole_models", Path(__file__).parents[1] / "evidence" / "whole_models.py")
whole_models = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(whole_models)

F32, F64, I32, I64, U32, BOOL = (DTYPES[name] for name in ("f32", "f64", "i32", "i64", "u32", "bool"))
N = dim("N")
ROW, COLUMN = Axis("i", N), Axis("j", 4)
X, Y = Buffer("x", F32, (N, 4)), Buffer("y", F32, (N, 4))
HERE = (axis(ROW), axis(COLUMN))
AT = load(X, HERE, F32)


def reads_back(loops: Loops) -> str:
    """The text of loops, which must read back to equal loops."""
    text = str(loops)
    read = parse_loops(text)
    assert str(read) == text
    assert read == loops, text
    return text


def kernels(graph, machine):
    """The loops of a graph's kernels, naive and scheduled."""
    for step in run(graph, PIPELINE).steps:
        naive = lower(step.op.body, step.op.body.name)
        yield naive
        yield schedule(naive, machine)


def test_loops_over_quotients_read_back():
    x = f.input("x", (N, dim("T"), 4))
    pooled = f.max_pool(f.conv(x, f.input("w", (5, 4, 8)), 3), 2)
    for loops in kernels(Graph("t", (x, f.input("w", (5, 4, 8))), (), (("y", pooled),)), Machine.host()):
        assert "//" in reads_back(loops)


def nest(*body, params=(X, Y), scratch=()):
    """A kernel with the statements in loops over i and j."""
    return Loops("k", params, 1, (For(ROW, (For(COLUMN, body),)),), scratch)


def stores(value, dtype=None):
    """A kernel that stores a value."""
    result = Buffer("out", dtype or value.dtype, (N, 4))
    return nest(Store(result, HERE, value), params=(X, result))


# ---------------------------------------------------------------------------------------------------- round trips

@pytest.mark.parametrize("machine", TARGETS)
@pytest.mark.parametrize("name", each(3, whole_models.models()))
def test_kernels_of_models(name, machine):
    graphc.utils.clear_session()
    make, optimizer, loss, *_ = whole_models.models()[name]
    model, target = graphc.Sequential(make()), Machine.named(machine)
    model.compile(optimizer, loss=loss)
    for kind in ("train", "evaluate", "predict"):
        for loops in kernels(trace_step(kind, model).graph, target):
            verify_loops(parse_loops(reads_back(loops)))


@pytest.mark.parametrize("machine", TARGETS)
def test_what_is_read_makes_the_same_code(machine):
    target = Machine.named(machine)
    for loops in kernels(cnn(), target):
        assert emit(parse_loops(str(loops)), target.lanes) == emit(loops, target.lanes)


@pytest.mark.parametrize("machine", TARGETS)
@pytest.mark.parametrize("seed", range(0, 24, 3))
def test_kernels_of_random_graphs(seed, machine):
    print(f"seed {seed}")
    shapes = Shapes(seed, 6 + seed // 2).graph(with_gradients=True)
    doubles = random_graphs.random_graph(np.random.default_rng(seed), 4 + seed)
    for graph in (shapes, doubles):
        for loops in kernels(graph, Machine.named(machine)):
            reads_back(loops)


def test_random_expressions(rng):
    def value(dtype, depth):
        """A random expression of a dtype."""
        kind = rng.integers(8)
        if depth == 0 or kind == 0:
            number = rng.integers(0, 2 if dtype == BOOL else 200) * (0.7 if dtype.is_float else 1)
            leaves = {F32: AT, I64: HERE[rng.integers(2)], I32: cast(HERE[0], I32)}
            return leaves[dtype] if dtype in leaves and rng.integers(2) else const(number, dtype)
        if kind == 1:
            return select(value(BOOL, depth - 1), value(dtype, depth - 1), value(dtype, depth - 1))
        if kind == 2:
            return cast(value(list(DTYPES.values())[rng.integers(len(DTYPES))], depth - 1), dtype)
        if kind == 3 and dtype.size == 4:
            return bitcast(value((F32, I32, U32)[rng.integers(3)], depth - 1), dtype)
        if dtype == BOOL:
            source = (F32, I64, U32)[rng.integers(3)]
            op = ("lt", "le", "eq", "ne")[rng.integers(4)]
            return scalar(op, value(source, depth - 1), value(source, depth - 1))
        ops = sorted(("add", "sub", "mul", "min", "max", "neg", "abs") if not dtype.is_float else
                     [op for op, s in SCALARS.items() if s.result == "same" and op not in
                      ("and", "or", "xor", "not", "shl", "shr", "floordiv")])
        op = ops[rng.integers(len(ops))]
        return scalar(op, *(value(dtype, depth - 1) for _ in range(SCALARS[op].arity)))

    named = 0
    with np.errstate(all="ignore"):
        for k in range(150):
            made = value(list(DTYPES.values())[k % len(DTYPES)], 5)
            reads_back(stores(made))
            named += bool(shared(made))
    assert named > 5


@pytest.mark.parametrize("op", sorted(SCALARS))
def test_every_scalar_operation(op):
    dtype = U32 if op in ("and", "or", "xor", "not", "shl", "shr") else F32
    x = bitcast(AT, U32) if dtype == U32 else AT
    operands = [x, *(x + const(k, dtype) for k in range(1, SCALARS[op].arity))]
    text = reads_back(stores(scalar(op, *operands)))
    assert f" {INFIX[op]} " in text if op in INFIX else f"{op}(" in text


@pytest.mark.parametrize(("number", "dtype", "text"), [
    (0.1, F32, "0.10000000149011612"), (-0.0, F32, "-0.0"), (1e-30, F32, "1.0000000031710769e-30"),
    (2.0**100, F32, "1.2676506002282294e+30"), (math.inf, F32, "inf"), (-math.inf, F32, "-inf"), (math.nan, F32, "nan"),
    (0.1, F64, "f64(0.1)"), (-math.inf, F64, "f64(-inf)"), (3, F64, "f64(3.0)"), (-7, I64, "-7"), (7, U32, "u32(7)"),
    (-7, I32, "i32(-7)"), (255, DTYPES["u8"], "u8(255)"), (True, BOOL, "True"),
])
def test_constants(number, dtype, text):
    assert f"] = {text}\n" in reads_back(stores(const(number, dtype)))


@pytest.mark.parametrize(("value", "text"), [
    (cast(const(1.5, F32), I32), "i32(1.5)"),
    (cast(const(2.0, F64), BOOL), "bool(f64(2.0))"),
    (cast(const(1.5, F32), F64), "f64(1.5)"),
    (cast(AT, F64), "f64(x[i, j])"),
    (cast(cast(AT, U32), F32), "f32(u32(x[i, j]))"),
    (cast(const(5, U32), I64), "5"),
    (cast(const(300), DTYPES["u8"]), "u8(44)"),
    (bitcast(const(5, U32), F32), "bits_f32(u32(5))"),
])
def test_casts(value, text):
    assert f"] = {text}\n" in reads_back(stores(value))


def test_a_cast_of_a_float_is_not_the_constant_of_its_text():
    assert cast(const(0.1, F32), F64) is const(np.float32(0.1), F64) is not const(0.1, F64)


def test_sizes_are_not_mistaken_for_axes():
    n, row = dim("i"), Axis("i", dim("i"))
    x, y = Buffer("x", I64, (n,)), Buffer("y", I64, (n,))

    def write(value):
        return Loops("k", (x, y), 1, (For(row, (Store(y, (axis(row),), value),)),))

    assert "for i in size(i) {\n    y[i] = size(i)\n" in reads_back(write(size(n)))
    assert "y[i] = i\n" in reads_back(write(axis(row)))
    several = 4 * N * dim("T") - N + 3
    assert "= 4*N*T-1*N+3\n" in reads_back(stores(size(several)))
    assert "= size(4*N*T+Batch-1*N+3)\n" in reads_back(stores(size(several + dim("Batch"))))


def test_registers_of_one_name():
    """Texts differ where registers do: their shapes decide which registers there are."""
    def write(first, second):
        registers = [Buffer("a", F32, (n,), "local") for n in (first, second)]
        used = [s for r in registers for s in (Store(r, HERE[1:], AT), Store(Y, HERE, load(r, HERE[1:], F32)))]
        return [line.strip() for line in reads_back(nest(*used)).splitlines()[3:7]]

    assert write(4, 4) == ["a[j] = x[i, j]", "y[i, j] = a[j]"] * 2
    assert write(4, 8) == ["a[j] = x[i, j]", "y[i, j] = a[j]", "a[j]: f32[8] = x[i, j]", "y[i, j] = a[j]"]
    assert write(8, 4) == ["a[j]: f32[8] = x[i, j]", "y[i, j] = a[j]", "a[j]: f32[4] = x[i, j]", "y[i, j] = a[j]"]


def test_declarations():
    stack, wide = Buffer("t", F64, (4,), "stack"), Buffer("w", F32, (2, 3), "local")
    single, narrow = Buffer("s", F32, (), "local"), Buffer("one", I64, (1, 4), "local")
    text = reads_back(nest(
        Store(stack, HERE[1:], cast(AT, F64)), Store(wide, (const(1), const(0)), AT),
        Store(wide, (const(1), const(2)), AT), Update(single, (), "max", AT),
        Store(narrow, (const(0), HERE[1]), HERE[0])))
    assert text == """\
kernel k(x: f32[N,4], y: f32[N,4]) writes 1 {
  for i in N {
    for j in 4 {
      t[j]: stack f64[4] = f64(x[i, j])
      w[1, 0]: f32[2,3] = x[i, j]
      w[1, 2] = x[i, j]
      s[] max = x[i, j]
      one[0, j] = i
    }
  }
}"""


def test_kinds_grains_scratch_barriers_and_extents():
    p = Buffer("part", F32, (16, 2 * N), "scratch")
    rest = Axis("r", scalar("mod", size(N), const(8)))
    inner = Axis("q", scalar("min", HERE[0] + 1, const(3)))
    body = (For(ROW, (For(inner, (), "vector"),), "parallel", 7), Barrier(), For(COLUMN, (), "unroll"),
            For(rest, (), grain=2), Store(p, (const(0), const(0)), const(1, F32)))
    assert reads_back(Loops("einsum+max/2", (X, Y), 2, body, (p,))) == """\
kernel einsum+max/2(x: f32[N,4], y: f32[N,4]) writes 2 scratch(part: f32[16,2*N]) {
  for i in N parallel grain 7 {
    for q in min((i + 1), 3) vector {
    }
  }
  barrier
  for j in 4 unroll {
  }
  for r in (N % 8) grain 2 {
  }
  part[0, 0] = 1.0
}"""


def test_prefetches():
    body = (For(ROW, (For(COLUMN, (Prefetch(AT),), "unroll"),)),)
    assert "    for j in 4 unroll {\n      prefetch x[i, j]\n" in reads_back(Loops("k", (X, Y), 1, body))
    verify_loops(Loops("k", (X, Y), 1, body))
    verify_loops(Loops("k", (X, Y), 1, (For(ROW, (Prefetch(load(X, (HERE[0] + 1, const(0)), F32)),)),)))
    with pytest.raises(InvalidGraph, match="L2"):
        verify_loops(Loops("k", (X, Y), 1, (For(ROW, (Prefetch(AT),)),)))
    with pytest.raises(ParseError, match="expected an element of memory"):
        parse_loops(line("prefetch (x[j] + 1.0)"))


def test_comments_and_free_spacing():
    text = "# one\nkernel k( x : f32[ 4 ],y: f32[4] ) writes 1\n{ for j in 4\n{\n # two\n y[ j ] = ( x[j]+1.0 ) }}\n#\n"
    assert "y[j] = (x[j] + 1.0)" in reads_back(parse_loops(text))


# --------------------------------------------------------------------------------------------------------- errors

HEAD = "kernel k(x: f32[4], k: i64[4], y: f32[4]) writes 1 {\n"


def line(text):
    """A kernel with one statement, in a loop, on line 3."""
    return f"{HEAD}  for j in 4 {{\n    {text}\n  }}\n}}"


@pytest.mark.parametrize(("text", "number", "words"), [
    ("", 1, "expected 'kernel'"),
    ("kernel k(x f32[2]) writes 0 {}", 1, "expected ':'"),
    ("kernel k(x: f16[2]) writes 0 {}", 1, "expected a type such as f32[N,10], received f16[2]"),
    ("kernel k(x: f32[2], x: f32[2]) writes 1 {}", 1, "expected a new name: x is defined already"),
    ("kernel k(x: f32[2]) {}", 1, "expected 'writes'"),
    ("kernel k(x: f32[2]) writes 2 {}", 1, "expected at most the number of params, 1, received 2"),
    (HEAD, 1, "expected a statement"),
    (HEAD + "}\nkernel", 3, "expected the end of the text"),
    (HEAD + "  for I in 4 {\n  }\n}", 2, "expected the name of an axis"),
    (HEAD + "  for t0 in 4 {\n  }\n}", 2, "expected the name of an axis"),
    (HEAD + "  for j 4 {\n  }\n}", 2, "expected 'in'"),
    (HEAD + "  for j in 4.0 {\n  }\n}", 2, "expected an expression of the dtype i64, received f32"),
    (HEAD + "  for j in 4 sideways {\n  }\n}", 2, "expected '{'"),
    (line("for j in 2 {\n}"), 3, "expected a new name: j is the axis of a loop around"),
    (line("y[j] = z[j]"), 3, "expected a buffer declared above: z is not"),
    (line("y[j] = inptu[j]").replace("x:", "input:"), 3, "did you mean input?"),
    (line("y[j] = x[n]"), 3, "expected the axis of a loop around or a size: n is neither"),
    (line("y[j] = expp(x[j])"), 3, "there is no 'expp'; did you mean exp?"),
    (line("y[j] = exp(x[j], x[j])"), 3, "expected one operand for exp, received x[j] (f32), x[j] (f32)"),
    (line("y[j] = max()"), 3, "expected 2 operands of one dtype for max, received none"),
    (line("y[j] = select(x[j], x[j], 1.0)"), 3, "expected a bool and two of one dtype for select"),
    (line("y[j] = bits_f32(k[j])"), 3, "expected one operand of 4 bytes for bits_f32, received k[j] (i64)"),
    (line("y[j] = f32(u8(256))"), 3, "expected a number that u8 can hold, received 256"),
    (line("y[j] = (x[j] $ 1.0)"), 3, "expected an operator"),
    (line("y[j] = (x[j] + 1.0"), 4, "expected ')'"),
    (line("y[j] mean = x[j]"), 3, "expected '='"),
    (line("y[j = x[j]"), 3, "expected ',' or ']'"),
    (line("a[2] = x[j]"), 3, "expected the type of a, which nothing declares above"),
    (line("let a = x[j]"), 3, "expected a name such as t0"),
    (line("let t0 = x[j]\n y[j] = t0\n y[j] = t0"), 5, "t0 is neither"),
], ids=lambda p: p.removeprefix(HEAD).replace("\n", " ") if isinstance(p, str) else str(p))
def test_errors_quote_the_line(text, number, words):
    with pytest.raises(ParseError) as caught:
        parse_loops(text)
    message = str(caught.value)
    assert message.startswith(f"Line {number}: ") and words in message
    assert (text.splitlines() or [""])[number - 1] in message


@pytest.mark.parametrize(("text", "message"), [
    ("y[j] = (x[j] + 1)", "expected 2 operands of one dtype for add, received x[j] (f32), 1 (i64)"),
    ("y[j] = k[j]", "expected a value of y's dtype f32, received i64"),
    ("y[j] sum = f64(x[j])", "expected a value of y's dtype f32, received f64"),
    ("y[x[j]] = 1.0", "expected an expression of the dtype i64, received f32"),
    ("a[]: f64[] = x[j]", "expected a value of a's dtype f64, received f32"),
])
def test_a_wrong_dtype(text, message):
    with pytest.raises(ParseError) as caught:
        parse_loops(line(text))
    first, quoted, mark = str(caught.value).splitlines()
    assert first == f"Line 3: {message}." and quoted.strip() == text and mark.strip() == "^"


@pytest.mark.parametrize(("loops", "words"), [
    (nest(For(Axis("i", 3), ())), "a loop can't be named i here"),
    (Loops("k", (X, Y), 1, (For(Axis("N", 3), ()),)), "a loop can't be named N here"),
    (Loops("k", (X, Buffer("x", F32, (4,))), 1, ()), "two params have one name"),
    (nest(Store(Buffer("x", F32, (), "local"), (), AT)), "the register x has the name of a param"),
    (nest(Store(Y, HERE, load(Buffer("a", F32, (), "local"), (), F32))), r"a is read as f32\[\], which no store above"),
])
def test_l6_a_name_means_one_thing(loops, words):
    with pytest.raises(InvalidGraph, match=f"^L6: .*{words}"):
        verify_loops(loops)


# ------------------------------------------------------------------------------------ the interpreter on such text

def interpreted(body, *arrays, result=F32, extent=4):
    """What a kernel of statements over `j` makes of arrays x0, x1, ..."""
    params = [f"x{k}: {DTYPES_BY_NUMPY[a.dtype]}[{','.join(map(str, a.shape))}]" for k, a in enumerate(arrays)]
    head = f"kernel k({', '.join([*params, f'y: {result}[{extent}]'])}) writes 1"
    y = np.zeros(extent, result.numpy)
    interpret(parse_loops(f"{head} {{ for j in {extent} {{ {body} }} }}"), [*arrays, y], {"N": 3})
    return y


DTYPES_BY_NUMPY = {d.numpy: d for d in DTYPES.values()}


def test_values_are_rounded_to_their_dtypes():
    x = np.float32([1e8, 1 / 3, 3e38, np.nan])
    assert np.array_equal(interpreted("y[j] = ((x0[j] + 1.0) - x0[j])", x), (x + np.float32(1)) - x, equal_nan=True)
    bytes_ = np.uint8([255, 1, 0, 200])
    assert interpreted("y[j] = (x0[j] + u8(1))", bytes_, result=DTYPES["u8"]).tolist() == [0, 2, 1, 201]
    words = np.uint32([1 << 31, 5, 7, 9])
    assert interpreted("y[j] = (x0[j] << u32(1))", words, result=U32).tolist() == [0, 10, 14, 18]


def test_integers_that_are_data_wrap_and_divide_as_in_numpy():
    x, by = np.array([2**63 - 1, -7, 7, 5]), np.array([1, 2, -2, 0])
    assert interpreted("y[j] = (x0[j] + 1)", x, result=I64)[0] == -2**63
    assert interpreted("y[j] = (x0[j] // x1[j])", x, by, result=I64).tolist() == [2**63 - 1, -4, -4, 0]
    assert interpreted("y[j] = ((j - 2) % N)", result=I64).tolist() == [1, 2, 0, 1]
    assert interpreted("y[j] = (j // (j - j))", result=I64).tolist() == [0, 0, 0, 0]


def test_an_index_may_be_data():
    x, at = np.float32([1, 2, 3]), np.array([2, 0, 1, 3])
    assert interpreted("y[j] = x0[min(x1[j], 2)]", x, at).tolist() == [3, 1, 2, 3]
    with pytest.raises(IndexError, match=r"^k: x0\[3\] is outside its shape \[3\]$"):
        interpreted("y[j] = x0[x1[j]]", x, at)
    with pytest.raises(IndexError, match=r"^k: y\[-1\] is outside its shape \[4\]$"):
        interpreted("y[(j - 1)] = 0.0")


def test_both_sides_of_a_selection_are_read():
    with pytest.raises(IndexError, match=r"x0\[3\] is outside"):
        interpreted("y[j] = select((j < 3), x0[j], 0.0)", np.zeros(3, np.float32))


def test_a_register_keeps_its_value_and_begins_as_poison():
    x = np.float32([1, 2, 3, 4])
    assert interpreted("y[j] = x0[j] for k in (j // 3) { s[] = x0[j] } y[j] sum = s[]", x)[3] == 8
    assert np.isnan(interpreted("for k in (j // 3) { s[] = x0[j] } y[j] = s[]", x)[:3]).all()


def test_more_loops_than_python_nests():
    deep = "s[] sum = 1.0"
    for k in range(40):
        deep = f"for i{k} in {2 if k % 10 == 0 else 1} {{ {deep} }}"
    assert interpreted(f"s[] = 0.0 {deep} y[j] = s[]").tolist() == [16.0] * 4
    assert sum(isinstance(s, For) for s in walk(parse_loops(f"kernel k() writes 0 {{ s[] = 0.0 {deep} }}").body)) == 40
