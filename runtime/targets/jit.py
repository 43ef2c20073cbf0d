"""Machine code: the text of LLVM modules to object code, and object code linked into this process."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from functools import cache
from typing import Any

import llvmlite
import llvmlite.binding as llvm

from graphc.runtime.cache import digest, open_cache, sources
from graphc.runtime.config import current
from graphc.runtime.targets.llvm import LIBM
from graphc.runtime.targets.machine import Machine

__all__ = ["VERSION", "Code", "Submit", "compile_text", "compiler", "define", "kept_object_code", "link", "load",
           "object_code", "optimised_code"]

# what makes object code out of text
VERSION = f"llvmlite {llvmlite.__version__}, LLVM {'.'.join(map(str, llvm.llvm_version_info))}"

Submit = Callable[[str], Future[bytes]]  # from a module's text to its object code, some time later


@cache
def _initialise() -> None:
    """Make the code generator ready, and known what object code calls by name."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    library = ctypes.CDLL(ctypes.util.find_library("m"))
    for name, function in LIBM.items():
        define(name, ctypes.cast(getattr(library, function), ctypes.c_void_p).value or 0)


def define(name: str, address: int) -> None:
    """Let code that is linked later call a function of this process by a name."""
    llvm.add_symbol(name, address)


@cache
def _generator(machine: Machine) -> llvm.TargetMachine:
    """The code generator for a machine, as it takes a while to make."""
    return _target_machine(machine)


def _target_machine(machine: Machine) -> llvm.TargetMachine:
    """For code that is written as it shall run: more effort of the generator takes time and makes it no faster."""
    _initialise()
    target = llvm.Target.from_triple(machine.triple)
    return target.create_target_machine(cpu=machine.cpu, features=machine.features, opt=1, reloc="pic",
                                        codemodel="small")


def object_code(text: str, machine: Machine) -> bytes:
    """The object code of a module's text."""
    return _generator(machine).emit_object(_optimised(text, machine))


def optimised_code(text: str, machine: Machine) -> tuple[str, str]:
    """A module's text after LLVM's passes, and its assembly: what `object_code` writes down as bytes."""
    module = _optimised(text, machine)
    return str(module), _generator(machine).emit_assembly(module)


def _optimised(text: str, machine: Machine) -> llvm.ModuleRef:
    """A module after LLVM's passes.

    What a kernel needs of them is little: registers instead of stack slots, and simpler instructions. The loops are
    as the schedule wants them, and the text computes nothing twice.
    """
    tm = _generator(machine)
    head = f'target datalayout = "{tm.target_data}"\ntarget triple = "{machine.triple}"\n'
    module = llvm.parse_assembly(head + text, llvm.create_context())
    if current().check:
        module.verify()
    passes, builder = _passes(machine)
    passes.run(module, builder)
    return module


@cache
def _passes(machine: Machine) -> tuple[llvm.ModulePassManager, llvm.PassBuilder]:
    """The passes, and what they need. They are made once: some kilobytes of each that is made are never freed."""
    passes = llvm.create_new_module_pass_manager()
    passes.add_always_inliner_pass()
    passes.add_sroa_pass()
    passes.add_instruction_combine_pass()
    return passes, llvm.create_pass_builder(_generator(machine), llvm.create_pipeline_tuning_options())


def kept_object_code(text: str, machine: Machine) -> bytes:
    """The object code of a module's text, from the compile cache if it has it."""
    store = open_cache(current().cache)
    if store is None:
        return object_code(text, machine)
    key = digest("module", sources() or "", VERSION, f"{machine.triple} {machine.cpu} {machine.features}", text)
    found = store.get(key)
    if found is None:
        found = object_code(text, machine)
        store.put(key, found)
    return found


@contextmanager
def compiler(machine: Machine) -> Iterator[Submit]:
    """A thread that makes object code of texts, while Python goes on to write the next one.

    It is one thread: llvmlite lets no second one into LLVM. Inside LLVM it doesn't hold Python's lock, which it needs
    for a moment before and after; a thread that runs Python gives the lock away only every 5 ms unless told otherwise.
    """
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        with ThreadPoolExecutor(1, "graphc-llvm") as pool:
            try:
                yield lambda text: pool.submit(copy_context().run, object_code, text, machine)
            except BaseException:  # an interrupt say: nobody wants what hasn't begun
                pool.shutdown(cancel_futures=True)
                raise
    finally:
        sys.setswitchinterval(interval)


class Code:
    """A native function; `address` is valid as long as this object lives."""

    def __init__(self, engine: Any, name: str, address: int):
        self.engine, self.name, self.address = engine, name, address
        self.uses: tuple[Code, ...] = ()  # code that this one calls, kept alive with it


def load(objects: Iterable[bytes], machine: Machine) -> llvm.ExecutionEngine:
    """The functions of object code, in this process for as long as the result lives."""
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target_machine(machine))
    for code in objects:
        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine


def link(objects: Mapping[str, bytes], machine: Machine) -> dict[str, Code]:
    """Load object code by the name of its function; the functions may call one another, and those linked before."""
    engine = load(objects.values(), machine)
    made = {name: Code(engine, name, engine.get_function_address(name)) for name in objects}
    for name, code in made.items():
        if not code.address:
            raise ValueError(f"The code has no function {name}.")
        define(name, code.address)
    if current().perf:
        # perf looks here for the names of code that is in no file
        with open(f"/tmp/perf-{os.getpid()}.map", "a") as symbols:
            symbols.writelines(f"{code.address:x} {_size(objects[name]):x} {name}\n" for name, code in made.items())
    return made


def _size(code: bytes) -> int:
    """Bytes of machine code of an object that has one function."""
    return sum(section.size() for section in llvm.ObjectFileRef.from_data(code).sections() if section.is_text())


def compile_text(text: str, name: str, machine: Machine) -> Code:
    """The function of a module's text, optimised and linked."""
    return link({name: object_code(text, machine)}, machine)[name]
