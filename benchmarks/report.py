"""Turn results into Markdown tables."""

from textwrap import shorten
from typing import Any

from benchmarks.checks import OVER_PEER, accounted
from benchmarks.harness import table

OURS = "din-ctr"
_LESS_IS_BETTER = ("_ms", "_mb", "_seconds")
_EPOCH = "One epoch of 2.6 M impressions, mean history 9, one core"


def merge(before: dict[str, Any] | None, now: dict[str, Any]) -> dict[str, Any]:
    """Return the better of two turns, figure by figure. A failed turn counts only if both failed."""
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
    parts = [_run_table(name, runs) for name, runs in results["runs"].items()]
    parts += [_request_table(name, runs) for name, runs in results["runs"].items() if "amazon-like, 1" in name]
    if full := results.get("full_epoch"):
        parts.append(f"{_EPOCH}: failed: {_short(full['error'])}\n" if "error" in full else _epoch(full))
    return "\n".join(parts)


def _short(error: str) -> str:
    """Return an error as one line for a table cell. results.json has the full text."""
    return f"`{shorten(error, 200).replace('|', '/')}`"


def _run_table(name: str, runs: dict[str, Any]) -> str:
    rows = []
    for who, run in runs.items():
        if "error" in run:
            rows.append([who, f"failed: {_short(run['error'])}", "", "", ""])
        else:
            rates = [f"{run[key]:,.0f}" for key in ("train_per_second", "score_per_second", "peak_mb")]
            rows.append([f"{who} {run['version']}", *rates, f"{run['auc']:.3f}"])
    good = {who: run for who, run in runs.items() if "error" not in run}
    ours = good.get(OURS)
    below = ""
    if ours:
        best = [_best_peer(good, key) for key in ("train_per_second", "score_per_second")]
        mine = (ours["train_per_second"], ours["score_per_second"])
        ratios = [f"**{rate / peer:.1f}×**" if peer else "**–**" for rate, peer in zip(mine, best, strict=True)]
        rows.append([OVER_PEER, *ratios, "", ""])
        below = _below(ours, best[0], [accounted(run) for run in good.values()])
    head = ["", "train, rows/s", "score, rows/s", "peak memory, MB", "training AUC"]
    return f"**{name}**\n\n{table(head, rows)}\n{below}"


def _below(ours: dict[str, Any], fastest: float | None, shares: list[float]) -> str:
    share = ours["roofline_seconds"] / ours["epoch_seconds"]
    counted = ours["counted_per_second"]
    times = f", {counted / fastest:.1f}× the fastest peer" if fastest else ""
    return (
        f"An epoch took {ours['epoch_seconds']:.2f} s, its matrix products alone {ours['roofline_seconds']:.2f} s: "
        f"{share * 100:.0f} % of the epoch. batch.onnx scores "
        f"{ours['onnx_score_per_second']:,.0f} rows/s; the first epoch took {ours['first_epoch_seconds']:.1f} s.\n"
        f"With settling and validation, we train {counted:,.0f} rows/s{times}. Epochs, settling, validation and "
        f"the rest add up to {min(shares):.0%} to {max(shares):.0%} of the wall time of a contestant's training.\n"
    )


def _request_table(name: str, runs: dict[str, Any]) -> str:
    ours = runs.get(OURS, {})
    if "request_packed_ms" not in ours:
        return ""
    peers = {who: run["request_ms"] for who, run in runs.items() if who != OURS and "request_ms" in run}
    times = {
        "`Scorer`, encoded": ours["request_packed_ms"],
        "`Scorer`, from raw ids": ours["request_raw_ms"],
        "request.onnx": ours["request_onnx_ms"],
        "padded four-way graph in onnxruntime": ours["request_padded_ms"],
        **{f"{who}, forward in PyTorch": time for who, time in peers.items()},
    }
    rows = [[what, f"{time:.1f}"] for what, time in times.items()]
    share = ours["request_packed_ms"] / min([ours["request_padded_ms"], *peers.values()])
    title = f"**One user, 500 candidates, 100 behaviours ({name.partition(', ')[2]})**"
    listed = table(["", "ms"], rows)
    return f"{title}\n\n{listed}\n`Scorer` takes {share:.2f} of the fastest other network.\n"


def _epoch(full: dict[str, Any]) -> str:
    rest = full["stage_seconds"] - full["epoch_seconds"]
    how = "native operations" if full["backend"] == "native" else "PyTorch"
    return (
        f"{_EPOCH}, the whole `train` stage: **{full['stage_seconds']:.0f} s** ({how}), of which the epoch and its "
        f"validation {full['epoch_seconds']:.0f} s, start, reading, compiling and saving {rest:.0f} s.\n"
    )


def _best_peer(runs: dict[str, Any], key: str) -> float | None:
    return max((run[key] for who, run in runs.items() if who != OURS), default=None)
