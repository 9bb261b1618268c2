"""Random dvc.yaml files."""

from random import Random
from typing import Any


def random_pipeline(seed: int) -> dict[str, Any]:
    """Draw stages in random order over few nested paths, with equal, inner and outer deps, and also invalid ones."""
    chance = Random(seed)
    folders = [f"{a}/{b}" for a in ("d", "d2", "e") for b in ("x", "xy", "z")]
    paths = ["d", "e", *folders, *(f"{folder}/{leaf}" for folder in folders for leaf in "pq"), "params.yaml", "q.yaml"]

    def stage() -> dict[str, Any]:
        outs = chance.sample(paths, chance.choice((0, 1, 1, 2)))
        rest = [path for path in paths if path not in outs]
        body = {
            "cmd": chance.choice(("true", ["true", "false"])),
            "deps": [chance.choice(("", "./", "d/../")) + path for path in chance.sample(rest, chance.randint(0, 3))],
            chance.choice(("outs", "metrics", "plots")): [
                chance.choice((path, {path: {"cache": False}})) for path in outs
            ],
            "params": chance.choice(([], ["train"], [{"q.yaml": ["a"]}], [{"q.yaml": None}])),
        }
        if chance.random() < 0.2:
            body |= {"wdir": "d"}
        if chance.random() < 0.1:
            body |= {chance.choice(("frozen", "always_changed", "depends")): True}
        return {key: value for key, value in body.items() if value}

    return {"stages": {f"s{i}": stage() for i in range(chance.randint(1, 5))}}
