"""The team: threads that wait inside native code, and meet at native barriers.

A worker is a daemon Python thread inside one call of the native function `worker`, which returns when the
team ends. One call of `run` publishes a step, runs thread 0's part itself and waits for the others, so Python
makes one call whatever the number of threads and barriers.

Waiting has three stages: spinning, since a step follows the last one within microseconds when training;
`sched_yield`, which gives way where there are more threads than cores; and, between steps only, sleep in a
condition variable. Everything shared stands in one control block:

    bytes   0 epoch       counter << 16 | threads of the step; a stop counts as a step of STOP threads
           64 finished    workers that are done with the step
          128 arrived     threads at the barrier
          192 generation  barriers passed
          256 step, 264 arguments
          512 ...         one slot per worker: asleep (8 bytes), at 64 its mutex, at 128 its condition

Counters that different threads write stand on different cache lines. Note [Epochs] has the reasoning.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from functools import cache
from string import Template
from typing import Any

import llvmlite.binding as llvm

from graphc.runtime.targets.machine import Machine

__all__ = ["MAX_THREADS", "Team", "team"]

MAX_THREADS = 256
_STOP = 0xFFFF
_SLOT, _SLOTS = 256, 512
_SPINS, _YIELDS = 4000, 400  # together well below a millisecond
_BUSY_SPINS = 50  # with more threads than cores the awaited one may need this very core

_TEXT = Template("""
declare void @$pause($pause_types)
declare i32 @sched_yield()
declare i32 @pthread_mutex_init(ptr, ptr)
declare i32 @pthread_mutex_lock(ptr)
declare i32 @pthread_mutex_unlock(ptr)
declare i32 @pthread_cond_init(ptr, ptr)
declare i32 @pthread_cond_wait(ptr, ptr)
declare i32 @pthread_cond_signal(ptr)

define internal ptr @slot(ptr %block, i64 %index) alwaysinline {
  %scaled = mul i64 %index, $slot
  %offset = add i64 %scaled, $slots
  %slot = getelementptr i8, ptr %block, i64 %offset
  ret ptr %slot
}

define void @initialise(ptr %block, i64 %index) {
  %slot = call ptr @slot(ptr %block, i64 %index)
  %mutex = getelementptr i8, ptr %slot, i64 64
  %condition = getelementptr i8, ptr %slot, i64 128
  call i32 @pthread_mutex_init(ptr %mutex, ptr null)
  call i32 @pthread_cond_init(ptr %condition, ptr null)
  ret void
}

; wait until a counter has a value, with as many threads at work
define internal void @reach(ptr %counter, i64 %wanted, i64 %threads) {
  %crowded = icmp ugt i64 %threads, $cores
  %spins = select i1 %crowded, i64 $busy_spins, i64 $spins
  br label %look
look:
  %tries = phi i64 [0, %0], [%next, %spin], [%next, %yield]
  %value = load atomic i64, ptr %counter acquire, align 8
  %there = icmp eq i64 %value, %wanted
  br i1 %there, label %done, label %idle
idle:
  %next = add i64 %tries, 1
  %early = icmp ult i64 %tries, %spins
  br i1 %early, label %spin, label %yield
spin:
  call void @$pause($pause_values)
  br label %look
yield:
  call i32 @sched_yield()
  br label %look
done:
  ret void
}

define void @barrier(ptr %block, i64 %threads) {
  %alone = icmp ult i64 %threads, 2
  br i1 %alone, label %out, label %enter
enter:
  %arrived = getelementptr i8, ptr %block, i64 128
  %generation = getelementptr i8, ptr %block, i64 192
  %now = load atomic i64, ptr %generation monotonic, align 8
  %after = add i64 %now, 1
  %before = atomicrmw add ptr %arrived, i64 1 acq_rel
  %count = add i64 %before, 1
  %last = icmp eq i64 %count, %threads
  br i1 %last, label %open, label %wait
open:
  store atomic i64 0, ptr %arrived monotonic, align 8
  store atomic i64 %after, ptr %generation release, align 8
  ret void
wait:
  call void @reach(ptr %generation, i64 %after, i64 %threads)
  ret void
out:
  ret void
}

define void @worker(ptr %block, i64 %index, i64 %start) {
  %finished = getelementptr i8, ptr %block, i64 64
  %step_at = getelementptr i8, ptr %block, i64 256
  %arguments_at = getelementptr i8, ptr %block, i64 264
  %slot = call ptr @slot(ptr %block, i64 %index)
  %mutex = getelementptr i8, ptr %slot, i64 64
  %condition = getelementptr i8, ptr %slot, i64 128
  br label %look
look:
  %seen = phi i64 [%start, %0], [%epoch, %work], [%seen, %spin], [%seen, %yield], [%seen, %woken]
  %tries = phi i64 [0, %0], [0, %work], [%next, %spin], [%next, %yield], [0, %woken]
  %epoch = load atomic i64, ptr %block acquire, align 8
  %threads = and i64 %epoch, 65535
  %new = icmp ne i64 %epoch, %seen
  %member = icmp ult i64 %index, %threads
  %called = and i1 %new, %member
  br i1 %called, label %enter, label %idle
enter:
  %stop = icmp eq i64 %threads, $stop
  br i1 %stop, label %out, label %work
work:
  %step = load ptr, ptr %step_at, align 8
  %arguments = load ptr, ptr %arguments_at, align 8
  call void %step(ptr %arguments, ptr %block, i64 %index, i64 %threads)
  atomicrmw add ptr %finished, i64 1 release
  br label %look
idle:
  %next = add i64 %tries, 1
  %early = icmp ult i64 %tries, $spins
  br i1 %early, label %spin, label %tired
spin:
  call void @$pause($pause_values)
  br label %look
tired:
  %patient = icmp ult i64 %tries, $patience
  br i1 %patient, label %yield, label %sleep
yield:
  call i32 @sched_yield()
  br label %look
sleep:
  call i32 @pthread_mutex_lock(ptr %mutex)
  atomicrmw xchg ptr %slot, i64 1 seq_cst
  br label %check
check:
  %epoch2 = load atomic i64, ptr %block seq_cst, align 8
  %threads2 = and i64 %epoch2, 65535
  %new2 = icmp ne i64 %epoch2, %seen
  %member2 = icmp ult i64 %index, %threads2
  %called2 = and i1 %new2, %member2
  br i1 %called2, label %woken, label %nap
nap:
  call i32 @pthread_cond_wait(ptr %condition, ptr %mutex)
  br label %check
woken:
  store atomic i64 0, ptr %slot monotonic, align 8
  call i32 @pthread_mutex_unlock(ptr %mutex)
  br label %look
out:
  ret void
}

; a new epoch for `threads` (or STOP), and a call for the sleepers among the workers 1 .. last - 1
define void @publish(ptr %block, i64 %threads, i64 %last) {
  %old = load atomic i64, ptr %block monotonic, align 8
  %floor = and i64 %old, -65536
  %next = add i64 %floor, 65536
  %epoch = or i64 %next, %threads
  atomicrmw xchg ptr %block, i64 %epoch seq_cst
  br label %each
each:
  %index = phi i64 [1, %0], [%following, %again]
  %more = icmp ult i64 %index, %last
  br i1 %more, label %look, label %out
look:
  %slot = call ptr @slot(ptr %block, i64 %index)
  %asleep = load atomic i64, ptr %slot seq_cst, align 8
  %wake = icmp ne i64 %asleep, 0
  br i1 %wake, label %call, label %again
call:
  %mutex = getelementptr i8, ptr %slot, i64 64
  %condition = getelementptr i8, ptr %slot, i64 128
  call i32 @pthread_mutex_lock(ptr %mutex)
  call i32 @pthread_cond_signal(ptr %condition)
  call i32 @pthread_mutex_unlock(ptr %mutex)
  br label %again
again:
  %following = add i64 %index, 1
  br label %each
out:
  ret void
}

define void @run(ptr %block, ptr %step, ptr %arguments, i64 %threads) {
  %alone = icmp ult i64 %threads, 2
  br i1 %alone, label %single, label %several
single:
  call void %step(ptr %arguments, ptr %block, i64 0, i64 1)
  ret void
several:
  %finished = getelementptr i8, ptr %block, i64 64
  %step_at = getelementptr i8, ptr %block, i64 256
  %arguments_at = getelementptr i8, ptr %block, i64 264
  store ptr %step, ptr %step_at, align 8
  store ptr %arguments, ptr %arguments_at, align 8
  store atomic i64 0, ptr %finished monotonic, align 8
  call void @publish(ptr %block, i64 %threads, i64 %threads)
  call void %step(ptr %arguments, ptr %block, i64 0, i64 %threads)
  %others = sub i64 %threads, 1
  call void @reach(ptr %finished, i64 %others, i64 %threads)
  ret void
}
""")


class _Native:
    """The compiled functions for one machine; they live as long as the process."""

    def __init__(self, machine: Machine):
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        # on AArch64 `yield` is no delay at all on most cores; `isb` is
        pause = ("llvm.x86.sse2.pause", "", "") if machine.triple.startswith("x86_64") else (
            "llvm.aarch64.isb", "i32", "i32 15")
        module = llvm.parse_assembly(_TEXT.substitute(
            slot=_SLOT, slots=_SLOTS, stop=_STOP, spins=_SPINS, patience=_SPINS + _YIELDS,
            busy_spins=_BUSY_SPINS, cores=machine.cores, pause=pause[0], pause_types=pause[1], pause_values=pause[2]))
        module.triple = machine.triple
        target = llvm.Target.from_triple(machine.triple)
        tm = target.create_target_machine(cpu=machine.cpu, features=machine.features, opt=3)
        builder = llvm.create_pass_builder(tm, llvm.create_pipeline_tuning_options(speed_level=2))
        builder.getModulePassManager().run(module, builder)
        self.engine = llvm.create_mcjit_compiler(module, tm)
        self.engine.finalize_object()
        self.barrier = self.engine.get_function_address("barrier")
        self.run_address = self.engine.get_function_address("run")
        self.initialise = self._function("initialise", 1)
        self.worker = self._function("worker", 2)
        self.publish = self._function("publish", 2)
        pointers = [ctypes.c_void_p] * 3
        self.run = ctypes.CFUNCTYPE(None, *pointers, ctypes.c_int64)(self.run_address)

    def _function(self, name: str, integers: int) -> Any:
        types = [ctypes.c_int64] * integers
        return ctypes.CFUNCTYPE(None, ctypes.c_void_p, *types)(self.engine.get_function_address(name))


@cache
def _native(machine: Machine) -> _Native:
    return _Native(machine)


class _Block:
    """The control block: memory at a multiple of 64 bytes, and the worker threads that look at it."""

    def __init__(self, native: _Native):
        self.native = native
        self.memory = ctypes.create_string_buffer(_SLOTS + MAX_THREADS * _SLOT + 64)
        self.address = (ctypes.addressof(self.memory) + 63) & ~63
        self.workers: list[threading.Thread] = []

    def grow(self, threads: int) -> int:
        """Start workers until a step can have so many threads; returns how many it can have."""
        while len(self.workers) < threads - 1:
            index = len(self.workers) + 1
            self.native.initialise(self.address, index)
            epoch = ctypes.c_int64.from_address(self.address).value
            # no reference to the team, so that an unused one can end; the arguments keep the memory alive
            thread = threading.Thread(target=_work, args=(self, index, epoch), name=f"graphc-{index}",
                                      daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no thread to be had, or the interpreter is on its way out
                break
            self.workers.append(thread)
        return min(threads, len(self.workers) + 1)

    def forget(self) -> None:
        """Begin anew in a forked child, which has the memory but none of the threads."""
        self.workers.clear()
        ctypes.memset(self.address, 0, _SLOTS + MAX_THREADS * _SLOT)

    def stop(self) -> None:
        """End the workers and wait for them."""
        if self.workers:
            self.native.publish(self.address, _STOP, len(self.workers) + 1)
            for thread in self.workers:
                thread.join(timeout=5.0)
            self.workers.clear()


def _work(block: _Block, index: int, epoch: int) -> None:
    block.native.worker(block.address, index, epoch)


class Team:
    """Threads that run native steps `void step(ptr arguments, ptr block, i64 thread, i64 threads)` together.

    Workers start when a run first needs them, so that after a fork the same team works in the child. Steps
    call the function at `barrier_address`, `void barrier(ptr block, i64 threads)`, wherever all have to meet.
    """

    def __init__(self, machine: Machine, threads: int):
        if not 1 <= threads <= MAX_THREADS:
            raise ValueError(f"A team can't have {threads} threads. Expected 1 to {MAX_THREADS}.")
        self.machine, self.threads = machine, threads
        native = _native(machine)
        self._block, self._run, self._lock = _Block(native), native.run, threading.Lock()
        self.block_address = self._block.address
        self.run_address, self.barrier_address = native.run_address, native.barrier
        # also at the interpreter's exit, before it takes away what threads need to end
        weakref.finalize(self, self._block.stop)
        _TEAMS.add(self)

    def grow(self, threads: int) -> None:
        """Allow steps of so many threads."""
        if not 1 <= threads <= MAX_THREADS:
            raise ValueError(f"A team can't have {threads} threads. Expected 1 to {MAX_THREADS}.")
        self.threads = max(self.threads, threads)

    def run(self, step: int, arguments: int, threads: int) -> None:
        """Run the step at an address with as many threads, or fewer if the system has none to give.

        Returns when all are done. Runs from several Python threads take turns, except those of one thread,
        which need no one else.
        """
        if threads == 1:
            self._run(self.block_address, step, arguments, 1)
            return
        if not 1 <= threads <= self.threads:
            raise ValueError(f"The team can't run a step with {threads} threads: it has {self.threads}.")
        with self._lock:
            self._run(self.block_address, step, arguments, self._block.grow(threads))

    def _after_fork(self) -> None:
        self._lock = threading.Lock()  # another thread of the parent may have held it
        self._block.forget()


_TEAMS: weakref.WeakSet[Team] = weakref.WeakSet()
_team: Team | None = None
_team_lock = threading.Lock()


def team(threads: int | None = None) -> Team:
    """The team of the process, for at least so many threads; one per usable core if not given."""
    global _team
    with _team_lock:
        if _team is None:
            machine = Machine.host()
            _team = Team(machine, threads or machine.cores)
        elif threads:
            _team.grow(threads)
        return _team


def _after_fork() -> None:
    global _team_lock
    _team_lock = threading.Lock()
    for each in list(_TEAMS):
        each._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


# Note [Epochs]
#
# The number of threads is part of the epoch word, so a worker learns in one load that there is a new step
# and whether it takes part. A worker that doesn't take part may look much later and find a later epoch:
# it has missed nothing. One that takes part holds the next epoch up until it has counted itself as
# finished, so the step and its arguments can't change under it. Epochs in which a worker has no part do
# not restart its patience: it falls asleep beside a busy pair.
#
# No wake-up is lost: the worker writes `asleep`, then reads the epoch; `publish` writes the epoch, then
# reads `asleep`, all four sequentially consistent, so at least one of them sees the other (Dekker). The
# worker holds its mutex from before it writes `asleep` until the wait gives it back, so the signal can't
# fall in between.
#
# A barrier's generation can't pass the awaited value: the next barrier needs the thread that is waiting.
