"""Machine code: LLVM IR optimised to object code, and object code linked into this process."""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Mapping
from functools import cache
from typing import Any

import llvmlite.binding as llvm

from graphc.runtime.targets.llvm import BARRIER, LIBM
from graphc.runtime.targets.machine import Machine
from graphc.runtime.targets.team import team

__all__ = ["Code", "compile_text", "link", "object_code"]


@cache
def _initialise() -> None:
    """Make the code generator ready, and known what object code calls by name."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    library = ctypes.CDLL(ctypes.util.find_library("m"))
    for name, function in LIBM.items():
        llvm.add_symbol(name, ctypes.cast(getattr(library, function), ctypes.c_void_p).value)
    llvm.add_symbol(BARRIER, team(1).barrier_address)


def _target_machine(machine: Machine) -> llvm.TargetMachine:
    target = llvm.Target.from_triple(machine.triple)
    return target.create_target_machine(cpu=machine.cpu, features=machine.features, opt=3, reloc="pic",
                                        codemodel="small")


def object_code(text: str, machine: Machine) -> bytes:
    """The object code of a module's text; LLVM's own vectorisers and unroller stay off."""
    _initialise()
    module, tm = llvm.parse_assembly(text, llvm.create_context()), _target_machine(machine)
    module.triple = machine.triple
    module.data_layout = str(tm.target_data)
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = False
    options.loop_interleaving = False
    builder = llvm.create_pass_builder(tm, options)
    builder.getModulePassManager().run(module, builder)
    return tm.emit_object(module)


class Code:
    """A native function; `address` is valid as long as this object lives."""

    def __init__(self, engine: Any, name: str, address: int):
        self.engine, self.name, self.address = engine, name, address
        self.uses: list[Code] = []  # code that this one calls, kept alive with it


def link(objects: Mapping[str, bytes], machine: Machine) -> dict[str, Code]:
    """Load object code by the name of its function; the functions may call one another, and those linked before."""
    _initialise()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target_machine(machine))
    for code in objects.values():
        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    made = {name: Code(engine, name, engine.get_function_address(name)) for name in objects}
    for name, code in made.items():
        llvm.add_symbol(name, code.address)
    return made


def compile_text(text: str, name: str, machine: Machine) -> Code:
    """The function of a module's text, optimised and linked."""
    return link({name: object_code(text, machine)}, machine)[name]
