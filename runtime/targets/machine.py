"""The machine that code is made for: what LLVM calls it, its vectors, its registers and its cores."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import llvmlite.binding as llvm

from graphc.ir.errors import GraphcError

__all__ = ["Machine", "MachineError", "usable_cores"]

_V2 = frozenset(["cx16", "popcnt", "sahf", "sse3", "sse4.1", "sse4.2", "ssse3"])
_V3 = _V2 | {"avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe", "xsave"}
_V4 = _V3 | {"avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"}
# x86-64 levels of the System V ABI: vector bits, vector registers, and what a host needs to run their code
_LEVELS: dict[str, tuple[int, int, frozenset[str]]] = {
    "x86-64": (128, 16, frozenset()), "x86-64-v2": (128, 16, _V2),
    "x86-64-v3": (256, 16, _V3), "x86-64-v4": (512, 32, _V4),
}


class MachineError(GraphcError, ValueError):
    """The named machine is unknown, or this host can't run its code."""


@dataclass(frozen=True)
class Machine:
    """What schedules and code generation need to know of a CPU."""

    triple: str
    cpu: str
    features: str  # as LLVM writes them: +avx2,-avx512f
    vector_bits: int
    registers: int  # vector registers
    cores: int  # that this process may use
    cache: int = 1 << 18  # bytes of a core's own cache, the second level

    @property
    def lanes(self) -> int:
        """The number of float32 in one vector."""
        return self.vector_bits // 32

    @staticmethod
    def host() -> Machine:
        """The machine that this process runs on, with its full vector width."""
        return _host()

    @staticmethod
    def named(name: str) -> Machine:
        """A machine by name: `host`, `x86-64-v2`, `x86-64-v3`, `x86-64-v4`, or a CPU as LLVM calls it.

        A level below the host's switches wider vectors off. A CPU's width is found by compiling for it; what
        else it has beyond the host is not checked.
        """
        return _host() if name == "host" else _named(name)


@cache
def _initialise() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


@cache
def _host() -> Machine:
    triple, features = llvm.get_process_triple(), llvm.get_host_cpu_features()
    if triple.startswith(("aarch64", "arm64")):
        width, registers = 128, 32
    elif features.get("avx512f"):
        width, registers = 512, 32
    elif features.get("avx"):
        width, registers = 256, 16
    else:
        width, registers = 128, 16
    return Machine(triple, llvm.get_host_cpu_name(), features.flatten(), width, registers, usable_cores(),
                   _second_level_cache())


@cache
def _named(name: str) -> Machine:
    host = _host()
    if name in _LEVELS:
        if not host.triple.startswith("x86_64"):
            raise MachineError(f"This host ({host.triple}) can't run code for {name}. Choose 'host'.")
        width, registers, needed = _LEVELS[name]
        has = llvm.get_host_cpu_features()
        missing = sorted(f for f in needed if not has.get(f))
        if missing:
            raise MachineError(f"This host ({host.cpu}) can't run code for {name}: it lacks "
                               f"{', '.join(missing)}. Choose a lower level, or 'host'.")
        return Machine(host.triple, name, "", width, registers, host.cores, host.cache)
    found = _probe(host.triple, name)
    if found is None:
        raise MachineError(f"LLVM knows no CPU {name!r} for {host.triple}, or it is older than x86-64-v2. "
                           f"Expected 'host', one of {', '.join(_LEVELS)}, or LLVM's name of a CPU such as "
                           f"{host.cpu!r}.")
    width, registers = found
    if width > host.vector_bits:
        raise MachineError(f"This host ({host.cpu}) can't run code for {name}: its vectors have "
                           f"{host.vector_bits} bits, not {width}. Choose a smaller CPU, or 'host'.")
    return Machine(host.triple, name, "", width, registers, host.cores, host.cache)


def _second_level_cache(root: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> int:
    """Bytes of the first core's second-level cache, from Linux; a small one where that is unknown."""
    for index in root.glob("index*"):
        try:
            if (index / "level").read_text().strip() == "2":
                text = (index / "size").read_text().strip()
                return int(text.rstrip("KM")) << {"K": 10, "M": 20}.get(text[-1], 0)
        except (OSError, ValueError):
            continue
    return Machine.cache


_PROBE = """
define i64 @probe(ptr %p, i64 %n) {
  %x = load <16 x float>, ptr %p, align 4
  %y = fadd <16 x float> %x, %x
  store <16 x float> %y, ptr %p, align 4
  %bits = call i64 @llvm.ctpop.i64(i64 %n)
  ret i64 %bits
}
declare i64 @llvm.ctpop.i64(i64)
"""


def _probe(triple: str, cpu: str) -> tuple[int, int] | None:
    """Vector bits and registers of a CPU from the code for it; None if unknown or without popcnt."""
    if not triple.startswith("x86_64"):
        return 128, 32
    _initialise()
    module = llvm.parse_assembly(_PROBE)
    module.triple = triple
    # for an unknown name LLVM only warns, on stderr, and takes a CPU so plain that it would end the process
    # for want of 64 bits
    tm = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, features="+64bit,+sse2")
    text = tm.emit_assembly(module)
    if "popcnt" not in text:
        return None
    return (512, 32) if "zmm" in text else (256, 16) if "ymm" in text else (128, 16)


def usable_cores() -> int:
    """The cores that this process may use, by the machine, its affinity and its cgroup's quota."""
    counts = [os.cpu_count() or 1]
    if hasattr(os, "sched_getaffinity"):
        counts.append(len(os.sched_getaffinity(0)))
    counts.extend(_quotas(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")))
    return max(1, min(counts))


def _quotas(root: Path, membership: Path) -> list[int]:
    """Whole cores of each CPU quota that holds: this cgroup's and its parents', versions 2 and 1."""
    found = []
    for folder in _cgroups(root, membership):
        try:
            if (folder / "cpu.max").exists():
                quota, period = (folder / "cpu.max").read_text().split()[:2]
            else:
                files = (folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us")
                quota, period = (f.read_text().strip() for f in files)
            if quota not in ("max", "-1"):
                # rounded down: a thread that the quota stops in a barrier stops all the others
                found.append(max(1, int(quota) // int(period)))
        except (OSError, ValueError, ZeroDivisionError):
            continue  # no such controller here, or not a file we can read: no limit known
    return found


def _cgroups(root: Path, membership: Path) -> list[Path]:
    folders = [root, root / "cpu"]  # inside a container the own group is the root
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return folders
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / "cpu" if controllers else root
        own = top / path.lstrip("/")
        folders.extend(f for f in (own, *own.parents) if f.is_relative_to(top) and f != top)
    return folders
