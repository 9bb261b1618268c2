"""Drive the defects, half of the sound variants, and lessons, and write the tables of docs/defects.md: `make defects`.

`--full` drives all variants, and every fault of learning from both starts instead of from one.
"""

import argparse
import random
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.defects.drive import Prepared, prepare, workers
from benchmarks.defects.lessons import drive_lessons, part, wrong
from benchmarks.defects.table import DEFECTS, SECTIONS, Defect
from benchmarks.defects.variants import VARIANTS, Variant
from benchmarks.generated_tables import TABLES

TABLE = TABLES["defects"]
_EARLY = "validate_features"
_SEED = 0
_VARIANTS = """
## Sound variants

No suite and no gate may close on any of these. Where a model is judged, the log has at least 24,000 rows of 1,200 users
and a seed of its own. `din gate` may wait for more days there, as on one sound day in ten. A variant with a champion
continues it for a day. Where only the form of the files differs, the model would be the same, so none is trained.
{drawn}

| variant | judged up to | ended |
|---|---|---|
"""


@dataclass(frozen=True)
class Found:
    """The result of one defect or variant for the page.

    Attributes:
        verdict: right, late or missed; for a variant, open, undecided or closed.
        gate: the right gate, or else the one that ended the run.
    """

    verdict: str
    gate: str


def render(defects: Mapping[str, Found], variants: Mapping[str, Found]) -> str:
    """Return the tables of defects and variants."""
    return "".join([f"{_score(defects, variants)}\n", *_tables(defects), *_variant_rows(variants)])


def row(defect: Defect, result: Found) -> str:
    """Return a defect's row."""
    forms = {"right": "`{}`", "late": "late: `{}`", "missed": "not caught"}
    caught = forms[result.verdict].format(result.gate)
    return f"| {defect.what} | {caught} | {defect.severity} | {defect.word} |\n"


def variant_row(variant: Variant, result: Found) -> str:
    """Return a variant's row."""
    champion = "`gate`, with a champion" if variant.champion else "`gate`"
    judged = champion if variant.trained else "`validate_features`"
    ended = "open" if result.verdict == "open" else f"{result.verdict}: `{result.gate}`"
    return f"| {variant.what} | {judged} | {ended} |\n"


def _score(defects: Mapping[str, Found], variants: Mapping[str, Found]) -> str:
    verdicts = [result.verdict for result in defects.values()]
    counts = {verdict: verdicts.count(verdict) for verdict in ("right", "late", "missed")}
    ends = [result.verdict for result in variants.values()]
    opened, undecided, closed = (ends.count(verdict) for verdict in ("open", "undecided", "closed"))
    return (
        f"Of {len(defects)} defects, {counts['right']} are caught by the right gate, {counts['late']} by another one, "
        f"and {counts['missed']} by none. Of {len(variants)} sound variants, {opened} pass, {undecided} are undecided, "
        f"and {closed} close a gate."
    )


def _tables(defects: Mapping[str, Found]) -> Sequence[str]:
    parts = []
    for title, section in SECTIONS.items():
        parts.append(f"\n## {title}\n\n| defect | gate | severity | its message contains |\n|---|---|---|---|\n")
        parts += [row(defect, defects[defect.name]) for defect in section]
    return parts


def _variant_rows(variants: Mapping[str, Found]) -> Sequence[str]:
    chosen = [variant for variant in VARIANTS if variant.name in variants]
    drawn = (
        f"{len(chosen)} of {len(VARIANTS)} are driven, drawn with seed {_SEED}; `make defects ARGS=--full` drives all."
    )
    head = _VARIANTS.format(drawn=drawn if len(chosen) < len(VARIANTS) else "All are driven.")
    return [head, *(variant_row(variant, variants[variant.name]) for variant in chosen)]


def judge_defect(prepared: Prepared, root: Path, name: str) -> Found:
    """Drive one defect, given by name, since its function can't be sent to another process."""
    (defect,) = (defect for defect in DEFECTS if defect.name == name)
    outcome = defect.drive(prepared, root / "defects" / defect.name)
    result = Found(defect.verdict(outcome), defect.caught_by(outcome) or next(iter(outcome.closed), ""))
    print(f"{result.verdict:6} {defect.name}: {result.gate}", flush=True)
    return result


def judge_variant(root: Path, name: str) -> Found:
    """Drive one variant, given by name."""
    (variant,) = (variant for variant in VARIANTS if variant.name == name)
    outcome = variant.drive(root / "variants" / variant.name)
    verdict = "undecided" if outcome.undecided else "closed" if outcome.closed else "open"
    result = Found(verdict, next(iter(outcome.closed), ""))
    print(f"{result.verdict:6} {variant.name}: {result.gate}", flush=True)
    return result


@dataclass(frozen=True)
class Driven:
    """The results of all defects and variants, by name."""

    defects: Mapping[str, Found]
    variants: Mapping[str, Found]

    def named(self, verdict: str) -> list[str]:
        """Return the defects or variants of one verdict."""
        return [
            name
            for results in (self.defects, self.variants)
            for name, result in results.items()
            if result.verdict == verdict
        ]


def drive_all(root: Path, full: bool = True) -> Driven:
    """Drive all defects, and all or half of the variants, below a folder, in as many processes as most machines have.

    A defect that the first suites miss is driven again in the larger log, to find out whether a later gate catches it.
    """
    early = prepare(root / "early", _EARLY)
    with workers() as pool:
        daily = pool.submit(prepare, root / "daily")
        variants = _chosen(full)
        sound = pool.map(partial(judge_variant, root), variants)
        defects = _driven(pool, early, root, [defect.name for defect in DEFECTS if defect.early])
        later = [defect.name for defect in DEFECTS if not defect.early or defects[defect.name].verdict == "missed"]
        defects |= _driven(pool, daily.result(), root / "daily", later)
        return Driven(defects, dict(zip(variants, sound, strict=True)))


def drive_early(root: Path, seed: int) -> dict[str, Found]:
    """Drive the defects that fetch, featurize or one of the first two suites should catch, in a log of another seed."""
    prepared = prepare(root / "early", _EARLY, seed)
    with workers() as pool:
        return _driven(pool, prepared, root, [defect.name for defect in DEFECTS if defect.early])


def _chosen(full: bool) -> list[str]:
    """Return the names of all variants, or of half of those with and half of those without a champion."""
    draw = random.Random(_SEED)
    kinds = [[variant.name for variant in VARIANTS if variant.champion is champion] for champion in (True, False)]
    return [name for names in kinds for name in (names if full else draw.sample(names, len(names) // 2))]


def _driven(pool: ProcessPoolExecutor, prepared: Prepared, root: Path, names: Sequence[str]) -> dict[str, Found]:
    return dict(zip(names, pool.map(partial(judge_defect, prepared, root), names), strict=True))


def main() -> int:
    """Write the page; return 1 if a defect passes all gates, or a verdict on a variant or a lesson is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="drive all variants and lessons")
    parser.add_argument(
        "--seed", type=int, help="drive early defects in a log that no limit was chosen on; print, write nothing"
    )
    options = parser.parse_args()
    write = TABLE.writer()
    with TemporaryDirectory() as folder:
        if options.seed is not None:
            results = drive_early(Path(folder), options.seed)
            print(
                f"seed {options.seed}: {sum(result.verdict == 'right' for result in results.values())} "
                f"of {len(results)} right"
            )
            return 0
        driven = drive_all(Path(folder), options.full)
        lessons = drive_lessons(Path(folder) / "lessons", options.full)
    write(render(driven.defects, driven.variants) + part(lessons))
    return int(bool(driven.named("missed") or driven.named("closed") or wrong(lessons)))


if __name__ == "__main__":
    sys.exit(main())
