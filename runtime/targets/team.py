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

`repeat` is a step that runs another one several times, on the next rows of its inputs or on rows gathered by number,
so that a loop over batches is one call too. Its arguments are 64-bit words:

    0 step   1 times   2 inputs to gather (0: none)   3 rows of a batch   4 address of the rows' numbers
    5 words of the step's arguments, n   6 .. the arguments at first   6 + n .. what each grows by from time to time
    6 + 2n .. for each gathered input the address of row 0, and the bytes of a row

The inputs to gather are the arguments from word 1 on: buffers for the rows of one batch.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from functools import cache
from string import Template
from typing import Any

from graphc.runtime.forks import MAKING, renewed
from graphc.runtime.targets.jit import define, kept_object_code, load
from graphc.runtime.targets.llvm import BARRIER
from graphc.runtime.targets.machine import Machine

__all__ = ["MAX_THREADS", "Team", "team"]

MAX_THREADS = 256
_STOP = 0xFFFF
_SLOT, _SLOTS = 256, 512
_SPINS, _YIELDS = 100, 1000  # some 6 microseconds: the awaited thread may need this very core; half a millisecond

_TEXT = Template("""
declare void @$pause($pause_types)
declare i32 @sched_yield()
declare i32 @pthread_mutex_init(ptr, ptr)
declare i32 @pthread_mutex_lock(ptr)
declare i32 @pthread_mutex_unlock(ptr)
declare i32 @pthread_cond_init(ptr, ptr)
declare i32 @pthread_cond_wait(ptr, ptr)
declare i32 @pthread_cond_signal(ptr)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)

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

; let a moment pass: on the core at first, after some tries by giving it to another thread
define internal void @idle(i64 %tries) {
  %early = icmp ult i64 %tries, $spins
  br i1 %early, label %spin, label %yield
spin:
  call void @$pause($pause_values)
  ret void
yield:
  call i32 @sched_yield()
  ret void
}

; wait until a counter has a value
define internal void @reach(ptr %counter, i64 %wanted) {
  br label %look
look:
  %tries = phi i64 [0, %0], [%next, %idle]
  %value = load atomic i64, ptr %counter acquire, align 8
  %there = icmp eq i64 %value, %wanted
  br i1 %there, label %done, label %idle
idle:
  %next = add i64 %tries, 1
  call void @idle(i64 %tries)
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
  call void @reach(ptr %generation, i64 %after)
  ret void
out:
  ret void
}

; whether a worker has a part in a new epoch
define internal i1 @called(i64 %epoch, i64 %seen, i64 %index) {
  %threads = and i64 %epoch, 65535
  %new = icmp ne i64 %epoch, %seen
  %member = icmp ult i64 %index, %threads
  %called = and i1 %new, %member
  ret i1 %called
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
  %seen = phi i64 [%start, %0], [%epoch, %work], [%seen, %idle], [%seen, %woken]
  %tries = phi i64 [0, %0], [0, %work], [%next, %idle], [0, %woken]
  %epoch = load atomic i64, ptr %block acquire, align 8
  %called = call i1 @called(i64 %epoch, i64 %seen, i64 %index)
  br i1 %called, label %enter, label %wait
enter:
  %threads = and i64 %epoch, 65535
  %stop = icmp eq i64 %threads, $stop
  br i1 %stop, label %out, label %work
work:
  %step = load ptr, ptr %step_at, align 8
  %arguments = load ptr, ptr %arguments_at, align 8
  call void %step(ptr %arguments, ptr %block, i64 %index, i64 %threads)
  atomicrmw add ptr %finished, i64 1 release
  br label %look
wait:
  %patient = icmp ult i64 %tries, $patience
  br i1 %patient, label %idle, label %sleep
idle:
  %next = add i64 %tries, 1
  call void @idle(i64 %tries)
  br label %look
sleep:
  call i32 @pthread_mutex_lock(ptr %mutex)
  atomicrmw xchg ptr %slot, i64 1 seq_cst
  br label %check
check:
  %epoch2 = load atomic i64, ptr %block seq_cst, align 8
  %called2 = call i1 @called(i64 %epoch2, i64 %seen, i64 %index)
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

; a step by one thread: its address is the first word, its arguments follow
define void @alone(ptr %call) {
  %step = load ptr, ptr %call, align 8
  %arguments = getelementptr i64, ptr %call, i64 1
  call void %step(ptr %arguments, ptr null, i64 0, i64 1)
  ret void
}

define void @run(ptr %block, ptr %call, i64 %threads) {
  %step = load ptr, ptr %call, align 8
  %arguments = getelementptr i64, ptr %call, i64 1
  %finished = getelementptr i8, ptr %block, i64 64
  %step_at = getelementptr i8, ptr %block, i64 256
  %arguments_at = getelementptr i8, ptr %block, i64 264
  store ptr %step, ptr %step_at, align 8
  store ptr %arguments, ptr %arguments_at, align 8
  store atomic i64 0, ptr %finished monotonic, align 8
  call void @publish(ptr %block, i64 %threads, i64 %threads)
  call void %step(ptr %arguments, ptr %block, i64 0, i64 %threads)
  %others = sub i64 %threads, 1
  call void @reach(ptr %finished, i64 %others)
  ret void
}

%header = type { ptr, i64, i64, i64, ptr, i64 }

define void @repeat(ptr %words, ptr %block, i64 %thread, i64 %threads) {
  %head = load %header, ptr %words, align 8
  %step = extractvalue %header %head, 0
  %times = extractvalue %header %head, 1
  %inputs = extractvalue %header %head, 2
  %rows = extractvalue %header %head, 3
  %order = extractvalue %header %head, 4
  %n = extractvalue %header %head, 5
  %first = getelementptr i64, ptr %words, i64 6
  %growth = getelementptr i64, ptr %first, i64 %n
  %sources = getelementptr i64, ptr %growth, i64 %n
  %own = alloca i64, i64 %n, align 8
  %size = mul i64 %n, 8
  call void @llvm.memcpy.p0.p0.i64(ptr align 8 %own, ptr align 8 %first, i64 %size, i1 false)
  %gathers = icmp ne i64 %inputs, 0
  br label %time
time:
  %t = phi i64 [0, %0], [%t2, %grown]
  %more = icmp ult i64 %t, %times
  br i1 %more, label %begin, label %out
begin:
  br i1 %gathers, label %input, label %work
input:
  %k = phi i64 [0, %begin], [%k2, %taken]
  %k2 = add i64 %k, 1
  %buffer_at = getelementptr i64, ptr %own, i64 %k2
  %buffer = load ptr, ptr %buffer_at, align 8
  %pair = mul i64 %k, 2
  %source_at = getelementptr i64, ptr %sources, i64 %pair
  %source = load ptr, ptr %source_at, align 8
  %bytes_at = getelementptr i64, ptr %source_at, i64 1
  %bytes = load i64, ptr %bytes_at, align 8
  br label %row
row:
  %r = phi i64 [%thread, %input], [%r2, %copy]
  %inside = icmp ult i64 %r, %rows
  br i1 %inside, label %copy, label %taken
copy:
  %batch = mul i64 %t, %rows
  %place = add i64 %batch, %r
  %number_at = getelementptr i64, ptr %order, i64 %place
  %number = load i64, ptr %number_at, align 8
  %from_offset = mul i64 %number, %bytes
  %to_offset = mul i64 %r, %bytes
  %from = getelementptr i8, ptr %source, i64 %from_offset
  %to = getelementptr i8, ptr %buffer, i64 %to_offset
  call void @llvm.memcpy.p0.p0.i64(ptr %to, ptr %from, i64 %bytes, i1 false)
  %r2 = add i64 %r, %threads
  br label %row
taken:
  %another = icmp ult i64 %k2, %inputs
  br i1 %another, label %input, label %gathered
gathered:
  call void @barrier(ptr %block, i64 %threads)
  br label %work
work:
  call void %step(ptr %own, ptr %block, i64 %thread, i64 %threads)
  call void @barrier(ptr %block, i64 %threads)
  br label %word
word:
  %w = phi i64 [0, %work], [%w2, %word]
  %own_at = getelementptr i64, ptr %own, i64 %w
  %old = load i64, ptr %own_at, align 8
  %growth_at = getelementptr i64, ptr %growth, i64 %w
  %by = load i64, ptr %growth_at, align 8
  %new = add i64 %old, %by
  store i64 %new, ptr %own_at, align 8
  %w2 = add i64 %w, 1
  %left = icmp ult i64 %w2, %n
  br i1 %left, label %word, label %grown
grown:
  %t2 = add i64 %t, 1
  br label %time
out:
  ret void
}
""")


class _Native:
    """The compiled functions for one machine; they live as long as the process."""

    def __init__(self, machine: Machine):
        # on AArch64 `yield` is no delay at all on most cores; `isb` is
        pause = ("llvm.x86.sse2.pause", "", "") if machine.triple.startswith("x86_64") else (
            "llvm.aarch64.isb", "i32", "i32 15")
        text = _TEXT.substitute(
            slot=_SLOT, slots=_SLOTS, stop=_STOP, spins=_SPINS, patience=_SPINS + _YIELDS,
            pause=pause[0], pause_types=pause[1], pause_values=pause[2])
        self.engine = load([kept_object_code(text, machine)], machine)
        self.barrier = self.engine.get_function_address("barrier")
        define(BARRIER, self.barrier)
        self.repeat = self.engine.get_function_address("repeat")
        self.initialise = self._function("initialise", 1, 1)
        self.worker = self._function("worker", 1, 2)
        self.publish = self._function("publish", 1, 2)
        self.alone = self._function("alone", 1, 0)
        self.run = self._function("run", 2, 1)

    def _function(self, name: str, pointers: int, integers: int) -> Any:
        types = [ctypes.c_void_p] * pointers + [ctypes.c_int64] * integers
        return ctypes.CFUNCTYPE(None, *types)(self.engine.get_function_address(name))


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
    call BARRIER, `void barrier(ptr block, i64 threads)` at `barrier_address`, wherever all have to meet.
    `repeat_address` is a step, too: see the top of this module.
    """

    def __init__(self, machine: Machine, threads: int):
        if not 1 <= threads <= MAX_THREADS:
            raise ValueError(f"A team can't have {threads} threads. Expected 1 to {MAX_THREADS}.")
        self.machine, self.threads = machine, threads
        native = _native(machine)
        self._block, self._run, self._alone, self._lock = _Block(native), native.run, native.alone, threading.Lock()
        self.block_address = self._block.address
        self.barrier_address, self.repeat_address = native.barrier, native.repeat
        # also at the interpreter's exit, before it takes away what threads need to end
        weakref.finalize(self, self._block.stop)
        renewed(self)

    def grow(self, threads: int) -> None:
        """Allow steps of so many threads."""
        if not 1 <= threads <= MAX_THREADS:
            raise ValueError(f"A team can't have {threads} threads. Expected 1 to {MAX_THREADS}.")
        self.threads = max(self.threads, threads)

    def run(self, call: int, threads: int) -> None:
        """Run a step with as many threads, or fewer if the system has none to give; returns when all are done.

        At the address `call` stand the step's own address, a 64-bit word, and from there on its arguments. Runs from
        several Python threads take turns, except those of one thread, which need no one else.
        """
        if threads == 1:
            self._alone(call)
            return
        if not 1 <= threads <= self.threads:
            raise ValueError(f"The team can't run a step with {threads} threads: it has {self.threads}.")
        with self._lock:
            if (most := self._block.grow(threads)) == 1:
                self._alone(call)
            else:
                self._run(self.block_address, call, most)

    def after_fork(self) -> None:
        """Begin without workers."""
        self._lock = threading.Lock()  # another thread of the parent may have held it
        self._block.forget()


_team: Team | None = None


def team(threads: int | None = None) -> Team:
    """The team of the process, for at least so many threads; one per usable core if not given."""
    global _team
    with MAKING:
        if _team is None:
            machine = Machine.host()
            _team = Team(machine, threads or min(machine.cores, MAX_THREADS))
        elif threads:
            _team.grow(threads)
        return _team


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
