"""Machine code from LLVM IR: optimise, link, and keep equal modules once."""

from __future__ import annotations

import threading
from functools import cache
from typing import Any

import llvmlite.binding as llvm

from graphc.runtime.targets.machine import Machine

__all__ = ["Code", "compile_text"]

_LOCK = threading.Lock()


@cache
def _initialise() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


class Code:
    """One compiled module; `address` is its function's, valid as long as this object lives."""

    def __init__(self, engine: Any, address: int):
        self.engine, self.address = engine, address
        self.uses: list[Code] = []  # code that this one calls, kept alive with it


def compile_text(text: str, name: str, machine: Machine) -> Code:
    """Optimise and link a module's text for a machine; LLVM's own vectorisers and unroller stay off."""
    _initialise()
    target = llvm.Target.from_triple(machine.triple)
    tm = target.create_target_machine(cpu=machine.cpu, features=machine.features, opt=3)
    module = llvm.parse_assembly(text)
    module.triple = machine.triple
    module.data_layout = str(tm.target_data)
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = False
    options.loop_interleaving = False
    builder = llvm.create_pass_builder(tm, options)
    builder.getModulePassManager().run(module, builder)
    with _LOCK:
        engine = llvm.create_mcjit_compiler(module, tm)
        engine.finalize_object()
    return Code(engine, engine.get_function_address(name))
