"""Turn results into Markdown tables."""

from textwrap import shorten
from typing import Any

from benchmarks.checks import OVER_PEER, accounted

OURS = "din-ctr"
_LESS_IS_BETTER = ("_ms", "_mb", "_seconds")


def merge(before: dict[str, Any] | None, now: dict[str, Any]) -> dict[str, Any]:
    """Return the better of two turns, figure by figure; a failed turn counts only if there is no other."""
    if before is None or "error" in before:
        return now
    if "error" in now:
        return before
    kept = dict(now)
    for name, value in before.items():
        if isinstance(value, float):
            kept[name] = (min if name.endswith(_LESS_IS_BETTER) else max)(value, now[name])
    return kept


def markdown(results: dict[str, Any]) -> str:
    """Return all tables."""
    missing = results.get("not_installed", {})
    parts = [f"{peer} can't be installed: {_short(error)}\n" for peer, error in missing.items()]
    parts += [_run_table(name, runs) for name, runs in results["runs"].items()]
    parts += [_request_table(name, runs) for name, runs in results["runs"].items() if "amazon-like, 1" in name]
    if "vocabulary" in results:
        parts.append(_vocabulary_table(results["vocabulary"]))
    parts += _epoch(results)
    return "\n".join(parts)


def _short(error: str) -> str:
    """Return an error as one line for a table's cell; results.json has the whole of it."""
    return f"`{shorten(error, 200).replace('|', '/')}`"


def _run_table(name: str, runs: dict[str, Any]) -> str:
    good = {who: run for who, run in runs.items() if "error" not in run}
    lines = [f"**{name}**\n", "| | train, rows/s | score, rows/s | peak memory, MB | training AUC |"]
    lines.append("|---|---|---|---|---|")
    for who, run in runs.items():
        if "error" in run:
            lines.append(f"| {who} | failed: {_short(run['error'])} | | | |")
            continue
        rates = " | ".join(f"{run[key]:,.0f}" for key in ("train_per_second", "score_per_second", "peak_mb"))
        lines.append(f"| {who} {run['version']} | {rates} | {run['auc']:.3f} |")
    if ours := good.get(OURS):
        best = {key: _best_peer(good, key) for key in ("train_per_second", "score_per_second")}
        ratios = [f"{ours[key] / peer:.1f}×" if peer else "–" for key, peer in best.items()]
        lines.append(f"| {OVER_PEER} | **{ratios[0]}** | **{ratios[1]}** | | |")
        share = ours["roofline_seconds"] / ours["epoch_seconds"]
        counted = ours["counted_per_second"]
        fastest = best["train_per_second"]
        times = f", {counted / fastest:.1f}× the fastest peer" if fastest else ""
        shares = [accounted(run) for run in good.values()]
        lines.append("")
        lines.append(
            f"An epoch took {ours['epoch_seconds']:.2f} s, its matrix products alone {ours['roofline_seconds']:.2f} s: "
            f"{share * 100:.0f} % of the epoch. batch.onnx scores "
            f"{ours['onnx_score_per_second']:,.0f} rows/s; the first epoch took {ours['first_epoch_seconds']:.1f} s.\n"
            f"With settling and validation, we train {counted:,.0f} rows/s{times}. Epochs, settling, validation and "
            f"the rest add up to {min(shares):.0%} to {max(shares):.0%} of the wall time of a contestant's training."
        )
    return "\n".join(lines) + "\n"


def _request_table(name: str, runs: dict[str, Any]) -> str:
    ours = runs.get(OURS, {})
    peers = {who: run["request_ms"] for who, run in runs.items() if who != OURS and "request_ms" in run}
    if "request_ms" not in ours:
        return ""
    floor = ours["request_floor_ms"]
    request = ours["request_ms"]
    rows = {
        "floor: matrix products and sigmoids alone": floor,
        "request.onnx": request,
        "request.onnx through `Scorer`, from raw ids": ours["request_raw_ms"],
        "padded four-way graph in onnxruntime": ours["request_padded_ms"],
        **{f"{who}, forward in PyTorch": time for who, time in peers.items()},
    }
    lines = [f"**One user, 500 candidates, 100 behaviours ({name.partition(', ')[2]})**\n", "| | ms | to the floor |"]
    lines.append("|---|---|---|")
    lines += [f"| {what} | {time:.1f} | {time / floor:.2f}× |" for what, time in rows.items()]
    fastest = min([ours["request_padded_ms"], *peers.values()])
    lines += ["", f"request.onnx takes {request / fastest:.2f} of the fastest other path."]
    return "\n".join(lines) + "\n"


def _vocabulary_table(found: dict[str, Any]) -> str:
    lines = ["**A training step by vocabulary, mini-batch aware regularisation on (half-filled, 1 core)**\n"]
    lines += ["| items | ms | to the smallest |", "|---|---|---|"]
    smallest = next(iter(found.values())).get("step_ms", float("nan"))
    for size, run in found.items():
        time = run.get("step_ms")
        figures = f"failed: {_short(run['error'])} |" if time is None else f"{time:.2f} | {time / smallest:.2f}×"
        lines.append(f"| {int(size):,} | {figures} |")
    return "\n".join(lines) + "\n"


def _epoch(results: dict[str, Any]) -> list[str]:
    """Report an epoch of Amazon Electronics' 2.6 M impressions on one core, if it was measured."""
    what = "One epoch of 2.6 M impressions, mean history 9, one core"
    full = results.get("full_epoch")
    if full is None:
        return []
    if "error" in full:
        return [f"{what}: failed: {_short(full['error'])}\n"]
    rest = full["stage_seconds"] - full["epoch_seconds"]
    how = "native operations" if full["backend"] == "native" else "PyTorch"
    return [
        f"{what}, the whole `train` stage: **{full['stage_seconds']:.0f} s** ({how}), of which the epoch and its "
        f"validation {full['epoch_seconds']:.0f} s, start, reading, compiling and saving {rest:.0f} s.\n"
    ]


def _best_peer(runs: dict[str, Any], key: str) -> float | None:
    return max((run[key] for who, run in runs.items() if who != OURS), default=None)
