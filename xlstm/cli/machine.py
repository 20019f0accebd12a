"""The commands about this machine: bench, devices, check."""

from __future__ import annotations

import os
import sys
from typing import Any

from .. import backends, bench, gradcheck, trusted
from ..cells import CELLS
from ..layers import layer_of
from ..plots import BenchDisplay
from ..plots.display import check_picture
from .common import show


def run_bench(options: Any) -> int:
    """Time each backend."""
    if options.save:
        if options.device is not None:
            options.parser.error("--save compares the CPU with the GPU: leave --device out")
        bench.check_saving()
    if options.plot is not None:
        check_picture(options.plot)
    device = None if options.device is None else backends.select(options.device).device
    results = bench.run(device, progress=lambda line: print(line, file=sys.stderr, flush=True))
    text = bench.table(results)
    if options.save:
        path = bench.save(results)
        results["saved"] = str(path)
        text += f"\nsaved: {path}"
    if options.plot is not None:
        BenchDisplay(results).plot().save(options.plot)
        results["plot"] = options.plot
        text += f"\ndrawn: {options.plot}"
    return show(options, text, results)


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
        told = "is none of these: set it to auto, cpu, cuda or cuda:N"
        if backends.is_device(wanted):
            told = (
                "cannot be used here (see above): what names no device of its own is an error. Unset it, or set it to "
                "auto or cpu"
            )
        known = backends.meant(wanted)
        lines.append(f"XLSTM_DEVICE is {wanted!r}, which {told}{known and f'.{known}'}")
    values: dict[str, Any] = {"devices": [entry._asdict() for entry in report], "used": used[0] if used else None}
    values["auto"] = None
    if "cuda:0" in [entry.device for entry in report if entry.usable]:  # the one that 'auto' may take
        rule = backends.auto_rule()
        limit = None if rule.never else rule.flops_per_step
        values["auto"] = {"flops_per_step": limit, "measured": rule.measured}
        source = f"as measured here: {backends.crossing.path()}" if rule.measured else "an estimate: see bench --save"
        line = "'auto' takes the CPU for work of any size"
        if limit is not None:
            size = f"{limit / 1e6:.3g} million operations a step or more"
            line = f"'auto' takes the GPU for work of {size}, the CPU for less"
        lines.append(f"{line} ({source})")
    return show(options, "\n".join(lines), values)


def run_check(options: Any) -> int:
    """Check the gradients; exit code 1 where one is wrong."""
    report = backends.report() if options.device is None else []
    usable = [entry.device for entry in report if entry.usable] or [options.device]
    left_out = [entry for entry in report if not entry.usable and backends.cupy_arrays.installed()]
    lines, rows, wrong = [], [], False
    for kind in map(layer_of, CELLS):
        for device, kernels in [(name, kernels) for name in usable for kernels in bench.paths(name, kind.cell)]:
            for settings in ({}, {"num_layers": 2, "bidirectional": True}):
                layer = kind(3, 5, device=device, kernels=kernels, seed=options.seed, **settings)  # type: ignore[arg-type]
                try:
                    found = gradcheck.check_gradients(layer, seed=options.seed)
                    largest = max(entry.error for entry in found.entries)
                    lines.append(f"ok     {layer!r}: {len(found.entries)} gradients, largest error {largest:.1e}")
                    rows.append({"layer": repr(layer), "device": layer.device, "passed": True, "error": largest})
                except AssertionError as error:
                    wrong = True
                    lines.append(f"WRONG  {error}")
                    rows.append({"layer": repr(layer), "device": layer.device, "passed": False, "error": None})
    lines += [f"not checked: {entry.device}: {entry.detail}" for entry in left_out]
    checked = " and ".join(dict.fromkeys(str(row["device"]) for row in rows))
    agree = f"all gradients on {checked} agree with finite differences"
    lines.append("some gradients are WRONG" if wrong else agree)
    levels = [row for name in usable for row in trusted.at_length(backends.select(name))]
    if levels:
        failed = any(row["error"] is not None or row["failure"] for row in levels if not row["passed"])
        wrong |= failed
        compared = any(row["error"] is not None for row in levels)
        verdict = "all levels agree with the array code" if compared else "no level could be compared"
        lines += ["", *_table(levels), "some levels are WRONG" if failed else verdict]
    not_checked = [{"device": entry.device, "reason": entry.detail} for entry in left_out]
    values: dict[str, Any] = {"checks": rows, "levels": levels, "not_checked": not_checked}
    values |= {"passed": not wrong, "exit_code": int(wrong)}
    return show(options, "\n".join(lines), values, int(wrong))


def _table(levels: list[dict[str, Any]]) -> list[str]:
    """The comparisons of levels with the array code, a line each."""
    columns, form = ("device", "kernels", "cell", "dtype", "precision"), "{:<8} {:<14} {:<5} {:<8} {:<9}"
    lines = [f"{'':<7}{form.format(*columns)} {'problems':>8} {'error':>8} {'bound':>8}"]
    for row in levels:
        start = form.format(*(row[name] for name in columns))
        if row["error"] is None:
            lines.append(f"{'WRONG' if row['failure'] else '-':<7}{start} {row['failure'] or row['reason']}")
            continue
        mark, told = ("ok", "") if row["passed"] else ("WRONG", f"  {row['where']}")
        lines.append(f"{mark:<7}{start} {row['problems']:>8} {row['error']:>8.1e} {row['bound']:>8.0e}{told}")
    return lines
