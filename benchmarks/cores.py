"""How much faster is a layer on more threads, and beside PyTorch on as many? One table of a machine with many cores.

Usage::

    python benchmarks/cores.py                              threads 1, 2, 4, … up to the cores that there are
    python benchmarks/cores.py --threads 1,8,64 --shapes mid,huge
    python benchmarks/cores.py --model                      no times: what the kernels' own division of the work allows
    python benchmarks/cores.py --out                        also writes benchmarks/results/cores-….json

A training step and inference of an LSTM, float32, as in peers.py. For each number of threads ours, PyTorch and a loop
of multiply-adds take turns, all on that number. "Speed-up" is against ours on the first number of the list; "of peak"
is against the loop on as many threads, so that a clock that falls with the cores in use does not count against
either; "× torch" is how many times as fast as PyTorch. "Threads" is how many had work, and how many were woken for it
where these are more; "teams" how many teams of how many members shared how many tasks, forward and backward.

With --model nothing is timed, and a machine of one core will do. Each shape runs once on each number of threads, and
the kernels tell how they divided it: lib/core_model.py makes a speed-up of that, and names what it assumes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from typing import Any

from lib import core_model, machine, sides
from lib.case import case_of
from lib.command import Row, announce, choices, finish, parser, table
from lib.errors import errors_of
from lib.harness import of_all, speed, take_turns
from lib.peak import Peak
from lib.shapes import FEW_ROWS, SHAPES, inference_flops, training_flops
from xlstm.backends import cpu

ALL = {**SHAPES, **FEW_ROWS}
KINDS = ("train", "infer")


def main() -> int:
    options = arguments()
    if cpu.target is None:
        print(cpu.why_not(), file=sys.stderr)
        return 1
    begin(options)
    rows: list[Row] = []
    for name in options.shapes:
        for kind in options.only:
            announce(f"{name} {ALL[name]}, {kind}")
            rows += (modelled if options.model else timed)(options, name, kind)
    results: Row = {"rows": rows, "kernels": machine.kernels(), "torch": options.torch}
    if options.model:
        results["assumed"] = core_model.told(options)
    finish(options, "cores", results, text(results, options.model))
    return int(any(row.get("wrong", False) for row in rows))


def arguments() -> argparse.Namespace:
    made = parser("cores", __doc__)
    made.add_argument("--threads", type=numbers, help='such as "1,2,4" (default: powers of two, and all cores)')
    made.add_argument("--shapes", type=choices(list(ALL)), default=list(ALL), help=f"some of {','.join(ALL)}")
    made.add_argument("--only", type=choices(KINDS), default=list(KINDS), help=f"one of {','.join(KINDS)}")
    made.add_argument("--rounds", type=int, default=5, help="blocks of each side (default: 5)")
    made.add_argument("--seconds", type=float, default=0.1, help="of calls in a block, two calls at least")
    made.add_argument("--model", action="store_true", help="reckon the speed-up in place of measuring it")
    core_model.add_options(made)
    options = made.parse_args()
    if options.threads is None:
        most = 64 if options.model else machine.cores()
        options.threads = sorted({most, *(1 << k for k in range(most.bit_length()))})
    return options


def numbers(text: str) -> list[int]:
    found = [int(part) for part in text.split(",") if part]
    if not found or min(found) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected numbers from 1 on, such as 1,2,4")
    return found


def begin(options: argparse.Namespace) -> None:
    """Start anew with as many threads as will be asked for: OpenMP reads how many it may start when it is loaded."""
    most = str(max(options.threads))
    wanted = dict.fromkeys(sides.THREAD_VARIABLES, most) | {"OMP_DYNAMIC": "false"}
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.environ.update(wanted)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    options.torch = not options.model and not sides.missing("torch")
    if not options.torch and not options.model:
        print("*** torch IS LEFT OUT, NOT INSTALLED ***", file=sys.stderr, flush=True)


def flops_of(name: str, kind: str) -> float:
    return inference_flops(ALL[name]) if kind == "infer" else training_flops(ALL[name], input_gradient=False)


def division(side: Any, kind: str) -> dict[str, Row]:
    """How the kernels divided a call, forward and backward."""
    if kind == "infer":
        side.infer()
        return {"forward": cpu.crew()._asdict()}
    outputs = side.layer.forward(side.x)
    found = {"forward": cpu.crew()._asdict()}
    side.layer.backward(outputs[2], d_state=side.d_state, input_gradient=False)
    return {**found, "backward": cpu.crew()._asdict()}


# ---------------------------------------------------------------- measured


def timed(options: argparse.Namespace, name: str, kind: str) -> list[Row]:
    case = case_of(ALL[name])
    true, rows, first = sides.truth(case, kind), [], None
    names = ["xlstm", *(["torch"] if options.torch else [])]
    for threads in options.threads:
        cpu.set_threads(threads)
        made = {side: sides.SIDES[side](case, threads) for side in names}
        if options.torch:
            made["torch"].torch.set_num_threads(threads)
        head: Row = {"shape": name, "size": list(ALL[name]), "kind": kind, "threads": threads}
        found = {side: errors_of(sides.outcome(each, kind), true) for side, each in made.items()}
        head |= {"errors": found, "wrong": bool(sides.judged(found)["ours_wrong"])}
        head["division"] = division(made["xlstm"], kind)
        if head["wrong"]:
            rows.append(head)
            continue
        peak = Peak(threads)
        calls = {side: getattr(each, kind) for side, each in made.items()}
        times = take_turns({**calls, "peak": peak}, options.seconds, options.rounds)
        tops, work, flops = times.pop("peak"), peak(), flops_of(name, kind)
        head["seconds"] = {side: of_all(times[side]) for side in names}
        head["peak_gflops"] = work / statistics.median(second for block in tops for second in block) / 1e9
        head["share_of_peak"] = {side: flops / work * speed(tops, times[side])["median"] for side in names}
        if options.torch:
            head["times_as_fast"] = speed(times["torch"], times["xlstm"])
        first = first or head["seconds"]["xlstm"]["median"]
        head["speed_up"] = first / head["seconds"]["xlstm"]["median"]
        rows.append(head)
    cpu.set_threads(None)
    return rows


# ---------------------------------------------------------------- reckoned


def modelled(options: argparse.Namespace, name: str, kind: str) -> list[Row]:
    case, rows, first = case_of(ALL[name]), [], None
    cpu.force_cores("near")  # what the model assumes, and no measurement of this machine's
    for threads in options.threads:
        cpu.set_threads(threads)
        divided = division(sides.SIDES["xlstm"](case, threads), kind)
        seconds = core_model.seconds(ALL[name], divided, options)
        first = first or sum(seconds.values())
        row: Row = {"shape": name, "size": list(ALL[name]), "kind": kind, "threads": threads, "division": divided}
        rows.append({**row, "seconds": seconds, "speed_up": first / sum(seconds.values())})
    cpu.force_cores("measured")
    cpu.set_threads(None)
    return rows


# ---------------------------------------------------------------- told


def text(results: Row, model: bool) -> str:
    lines = []
    for row in results["rows"]:
        head = [row["shape"], row["kind"], str(row["threads"])]
        if row.get("wrong"):
            lines.append([*head, *[""] * 5, "WRONG"])
            continue
        told = [f"{row['speed_up']:.2f}"]
        if model:
            whole = sum(row["seconds"].values())
            told += [f"{row['seconds'][part] / whole:.0%}" for part in core_model.PARTS]
        else:
            ours = row["seconds"]["xlstm"]["median"]
            told += [f"{1e3 * ours:.3f}", f"{row['share_of_peak']['xlstm']:.2f}"]
            if results["torch"]:
                told += [f"{row['share_of_peak']['torch']:.2f}", f"{row['times_as_fast']['median']:.2f}"]
            else:
                told += ["", ""]
        lines.append([*head, *told, *divided(row["division"])])
    header = ["shape", "call", "allowed", "speed-up"]
    header += list(core_model.PARTS) if model else ["ms", "of peak", "torch's of peak", "× torch"]
    made = table([*header, "threads", "teams"], lines)
    return f"{made}\n\n{results['assumed']}" if model else made


def divided(division: dict[str, Row]) -> list[str]:
    threads, teams = [], []
    for each in division.values():
        more = f" of {each['woken']}" if each["woken"] > each["threads"] else ""
        threads.append(f"{each['threads']}{more}")
        teams.append(f"{each['teams']}·{each['members']} on {each['tasks']}")
    return [", ".join(threads), ", ".join(teams)]


if __name__ == "__main__":
    sys.exit(main())
