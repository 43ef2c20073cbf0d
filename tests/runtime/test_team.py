"""The team of worker threads, and the machine's description."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
import warnings
from dataclasses import replace

import pytest

llvm = pytest.importorskip("llvmlite.binding")

from graphc.runtime.targets.machine import Machine, MachineError, _quotas, usable_cores  # noqa: E402
from graphc.runtime.targets.team import MAX_THREADS, Team, team  # noqa: E402

# thread t adds the neighbour's number into its own, 20 times, with barriers that keep the rounds apart; the
# arguments are two rows of `threads` numbers, which swap their parts in each round
STEP = """
define void @step(ptr %arguments, ptr %block, i64 %thread, i64 %threads) {{
  %barrier = inttoptr i64 {barrier} to ptr
  %right = add i64 %thread, 1
  %neighbour = urem i64 %right, %threads
  br label %round
round:
  %k = phi i64 [0, %0], [%next, %round]
  %odd = and i64 %k, 1
  %even = xor i64 %odd, 1
  %from = mul i64 %odd, %threads
  %to = mul i64 %even, %threads
  %i = add i64 %from, %thread
  %j = add i64 %from, %neighbour
  %o = add i64 %to, %thread
  %pi = getelementptr i64, ptr %arguments, i64 %i
  %pj = getelementptr i64, ptr %arguments, i64 %j
  %po = getelementptr i64, ptr %arguments, i64 %o
  %a = load i64, ptr %pi
  %b = load i64, ptr %pj
  %sum = add i64 %a, %b
  store i64 %sum, ptr %po
  call void %barrier(ptr %block, i64 %threads)
  %next = add i64 %k, 1
  %more = icmp ult i64 %next, 20
  br i1 %more, label %round, label %out
out:
  ret void
}}
"""


def build(barrier):
    """The engine, which has to live as long as the code, and the address of the step."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    tm = llvm.Target.from_default_triple().create_target_machine(opt=2)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(STEP.format(barrier=barrier)), tm)
    engine.finalize_object()
    return engine, engine.get_function_address("step")


@pytest.fixture(scope="module")
def step():
    engine, address = build(team().barrier_address)
    yield address
    del engine


def sums(threads):
    """What STEP leaves in its first row, started with 1, 2, .. threads."""
    row = list(range(1, threads + 1))
    for _ in range(20):
        row = [a + b for a, b in zip(row, row[1:] + row[:1], strict=True)]
    return row


def run(crew, step, threads):
    call = (ctypes.c_int64 * (1 + 2 * threads))(step, *range(1, threads + 1))
    crew.run(ctypes.addressof(call), threads)
    return list(call[1:threads + 1])


@pytest.mark.parametrize(("threads", "times"), [
    (1, 2000), (2, 2000), pytest.param(4, 500, marks=pytest.mark.slow), pytest.param(7, 200, marks=pytest.mark.slow)])
def test_every_run_gives_the_same(step, threads, times):
    crew, expected = team(threads), sums(threads)
    assert all(run(crew, step, threads) == expected for _ in range(times))


def test_numbers_of_threads_may_alternate(step):
    crew, expected = team(4), {n: sums(n) for n in (1, 2, 3, 4)}
    for k in range(400):
        n = (4, 2, 1, 3, 2, 2)[k % 6]
        assert run(crew, step, n) == expected[n]


def test_runs_from_several_python_threads(step):
    crew, wrong = team(4), []

    def work(n):
        expected = sums(n)
        wrong.extend(got for got in (run(crew, step, n) for _ in range(200)) if got != expected)

    callers = [threading.Thread(target=work, args=(n,)) for n in (1, 2, 2, 4)]
    for c in callers:
        c.start()
    for c in callers:
        c.join(timeout=60)
    assert not wrong and not any(c.is_alive() for c in callers)


def test_one_thread_needs_no_worker():
    crew = Team(Machine.host(), 8)
    engine, address = build(crew.barrier_address)
    before = threading.active_count()
    assert run(crew, address, 1) == sums(1)
    assert threading.active_count() == before
    del engine


def test_a_team_ends_with_its_last_reference():
    crew = Team(Machine.host(), 3)
    engine, address = build(crew.barrier_address)
    before = threading.active_count()
    assert run(crew, address, 3) == sums(3)
    assert threading.active_count() == before + 2
    del crew
    assert threading.active_count() == before
    del engine


def test_waking_up_after_a_pause(step):
    crew, expected = team(2), sums(2)
    for pause in (0.0001, 0.0005, 0.001, 0.005) * 10:
        time.sleep(pause)
        assert run(crew, step, 2) == expected


def test_idle_workers_sleep(step):
    run(team(4), step, 4)
    time.sleep(0.05)
    start = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - start < 0.03


def test_a_worker_without_a_part_sleeps_beside_a_busy_pair(step):
    crew = team(4)
    run(crew, step, 4)
    for _ in range(3000):
        run(crew, step, 1)  # time for the others to tire
    slots = [ctypes.c_int64.from_address(crew.block_address + 512 + 256 * i) for i in (2, 3)]
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and not all(s.value for s in slots):
        run(crew, step, 2)
    assert all(s.value == 1 for s in slots)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_has_its_own_workers(step):
    crew, expected = team(3), sums(3)
    assert run(crew, step, 3) == expected
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads is what is tested
        child = os.fork()
    if child == 0:
        good = team() is crew and all(run(crew, step, 3) == expected for _ in range(50))
        os._exit(0 if good else 1)
    deadline = time.monotonic() + 30
    pid, status = 0, 0
    while not pid and time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.01)
    if not pid:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert pid and os.waitstatus_to_exitcode(status) == 0
    assert run(crew, step, 3) == expected


EXIT = """
import atexit
import ctypes
from graphc.runtime.targets.team import team
import llvmlite.binding as llvm
crew = team(3)
engine = llvm.create_mcjit_compiler(llvm.parse_assembly(
    "define void @step(ptr %a, ptr %b, i64 %i, i64 %n) {{ ret void }}"),
    llvm.Target.from_default_triple().create_target_machine())
engine.finalize_object()
call = ctypes.c_int64(engine.get_function_address("step"))
{late}
for _ in range(100):
    crew.run(ctypes.addressof(call), 3)
print("done")
"""


@pytest.mark.parametrize("late", ["", "atexit.register(crew.run, ctypes.addressof(call), 3)"])
def test_the_interpreter_exits_cleanly(late):
    """Right after a run, and with a run in a late exit handler."""
    result = subprocess.run([sys.executable, "-c", EXIT.format(late=late)], capture_output=True, text=True,
                            timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (0, "done\n", "")


def test_a_wrong_number_of_threads_is_refused(step):
    with pytest.raises(ValueError, match=f"can't have 0 threads. Expected 1 to {MAX_THREADS}"):
        Team(Machine.host(), 0)
    with pytest.raises(ValueError, match="can't run a step with 3 threads: it has 2"):
        Team(Machine.host(), 2).run(0, 3)


# ------------------------------------------------------------------------------------------------- machines

ADD = """
define void @add(ptr %p) {
  %x = load <16 x float>, ptr %p, align 4
  %y = fadd <16 x float> %x, %x
  store <16 x float> %y, ptr %p, align 4
  ret void
}
"""
X86 = pytest.mark.skipif(not Machine.host().triple.startswith("x86_64"), reason="levels of x86-64")


def assembly(machine):
    tm = llvm.Target.from_triple(machine.triple).create_target_machine(cpu=machine.cpu, features=machine.features)
    return tm.emit_assembly(llvm.parse_assembly(ADD))


def test_the_host():
    host = Machine.host()
    assert host is Machine.named("host")
    assert (host.vector_bits, host.registers) in ((512, 32), (256, 16), (128, 16), (128, 32))
    assert host.lanes == host.vector_bits // 32
    assert 1 <= host.cores == usable_cores() <= (os.cpu_count() or 1)
    assert replace(host, vector_bits=256).lanes == 8


@X86
@pytest.mark.parametrize(("name", "bits", "registers"),
                         [("x86-64-v2", 128, 16), ("x86-64-v3", 256, 16), ("x86-64-v4", 512, 32)])
def test_levels(name, bits, registers):
    if bits > Machine.host().vector_bits:
        pytest.skip("the host is below this level")
    machine = Machine.named(name)
    assert (machine.vector_bits, machine.registers) == (bits, registers)
    assert machine.cores == Machine.host().cores
    text = assembly(machine)
    assert ("zmm" in text) == (bits == 512) and ("ymm" in text) == (bits == 256)


@X86
def test_a_cpu_by_name():
    assert Machine.named("nehalem").vector_bits == 128
    if Machine.host().vector_bits >= 256:
        assert Machine.named("haswell").vector_bits == 256


@X86
def test_an_unknown_machine():
    with pytest.raises(MachineError, match=r"LLVM knows no CPU 'pdp11'.*Expected 'host', one of x86-64, "):
        Machine.named("pdp11")


@X86
def test_a_machine_beyond_the_host(monkeypatch):
    from graphc.runtime.targets import machine as module
    small = replace(Machine.host(), cpu="nehalem", vector_bits=128)
    monkeypatch.setattr(module, "_host", lambda: small)
    module._named.cache_clear()
    with pytest.raises(MachineError, match=r"\(nehalem\) can't run code for haswell: its vectors have 128 bits"):
        Machine.named("haswell")
    monkeypatch.setattr(llvm, "get_host_cpu_features", lambda: {"avx": True})
    with pytest.raises(MachineError, match="can't run code for x86-64-v3: it lacks avx2, bmi"):
        Machine.named("x86-64-v3")
    module._named.cache_clear()


@pytest.mark.parametrize(("files", "membership", "quotas"), [
    ({"cpu.max": "150000 100000\n"}, "0::/\n", [1]),
    ({"cpu.max": "max 100000\n"}, "0::/\n", []),
    ({"a/b/cpu.max": "max 100000\n", "a/cpu.max": "400000 100000\n"}, "0::/a/b\n", [4]),
    ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, "4:cpu,cpuacct:/x\n", [3]),
    ({"cpu/x/cpu.cfs_quota_us": "20000\n", "cpu/x/cpu.cfs_period_us": "100000\n"}, "4:cpu,cpuacct:/x\n", [1]),
    ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, "", []),
    ({"cpu.max": "nonsense"}, "0::/\n", []),
    ({}, None, []),
])
def test_quotas_of_cgroups(tmp_path, files, membership, quotas):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    own = tmp_path / "self"
    if membership is not None:
        own.write_text(membership)
    assert _quotas(tmp_path, own) == quotas
