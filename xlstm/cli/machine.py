"""The commands about this machine: bench, devices, check."""

from __future__ import annotations

import os
import sys
from typing import Any

from .. import backends, bench, gradcheck
from ..cells import CELLS
from ..layers import layer_of
from .common import show


def run_bench(options: Any) -> int:
    """Time each backend."""
    device = None if options.device is None else backends.select(options.device).device
    results = bench.run(device, progress=lambda line: print(line, file=sys.stderr, flush=True))
    return show(options, bench.table(results), results)


def run_devices(options: Any) -> int:
    """List the devices."""
    report = backends.report()
    used = [entry.device for entry in report if entry.used]
    if options.device is not None:
        used = [backends.select(options.device).device]
    lines = []
    for entry in report:
        if entry.usable:
            mark = "  <- used" if entry.device in used else ""
            lines.append(f"{entry.device}: {entry.detail}; {entry.library}; kernels: {entry.kernels}{mark}")
            lines.append(f"    {entry.about_kernels}")
        else:
            lines.append(f"{entry.device}: not usable: {entry.detail}")
    wanted = os.environ.get("XLSTM_DEVICE")
    if not used and wanted:
        lines.append(f"XLSTM_DEVICE is {wanted!r}, which is none of these: set it to auto, cpu, cuda or cuda:N")
    if len([entry for entry in report if entry.usable]) > 1:
        lines.append(
            f"'auto' takes the GPU for work of {backends.AUTO_MIN_FLOPS_PER_STEP / 1e6:.0f} million operations a step "
            "or more, the CPU for less"
        )
    values = {"devices": [entry._asdict() for entry in report], "used": used[0] if used else None}
    return show(options, "\n".join(lines), values)


def run_check(options: Any) -> int:
    """Check the gradients; exit code 1 where one is wrong."""
    usable = (
        [entry.device for entry in backends.report() if entry.usable] if options.device is None else [options.device]
    )
    lines, rows, wrong = [], [], False
    for kind in map(layer_of, CELLS):
        for device, kernels in [(name, kernels) for name in usable for kernels in bench.paths(name, kind.cell)]:
            for settings in ({}, {"num_layers": 2, "bidirectional": True}):
                layer = kind(3, 5, device=device, kernels=kernels, seed=options.seed, **settings)  # type: ignore[arg-type]
                try:
                    report = gradcheck.check_gradients(layer, seed=options.seed)
                    largest = max(entry.error for entry in report.entries)
                    lines.append(f"ok     {layer!r}: {len(report.entries)} gradients, largest error {largest:.1e}")
                    rows.append({"layer": repr(layer), "device": layer.device, "passed": True, "error": largest})
                except AssertionError as error:
                    wrong = True
                    lines.append(f"WRONG  {error}")
                    rows.append({"layer": repr(layer), "device": layer.device, "passed": False, "error": None})
    lines.append("some gradients are WRONG" if wrong else "all gradients agree with finite differences")
    values = {"checks": rows, "passed": not wrong, "exit_code": int(wrong)}
    return show(options, "\n".join(lines), values, int(wrong))
