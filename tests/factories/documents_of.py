"""Sound documents of every type, for tests to write, to change and to break."""

from typing import Any

from din.schema import Field

DIGEST = "ab" * 32
TRAINED_UNTIL = "2024-10-03T12:00:00+00:00"
METRICS = {
    "rows": 1200,
    "users": 120,
    "one_class_users": 0,
    "ctr": 0.5,
    "auc": 0.75,
    "gauc": 0.74,
    "log_loss": 0.6,
    "normalized_entropy": 0.9,
    "calibration_ratio": 1.0,
    "ece": 0.01,
}
PROTOCOL = {
    "name": "by_user",
    "order": "strict",
    "seed": 17,
    "valid_fraction": 0.1,
    "test_fraction": 0.25,
    "valid_days": 1,
    "test_days": 2,
}


def evaluation(**changes: Any) -> dict[str, Any]:
    floors = {"popularity": {"auc": 0.6, "gauc": 0.6}, "lr": dict(METRICS, auc=0.7)}
    inputs = {"features": DIGEST, "model": DIGEST}
    found = {"test": dict(METRICS), "valid": dict(METRICS), "floors": floors, "oracle": None, "slices": {"test": []}}
    found |= {"advance": None, "learned_until": {"valid": TRAINED_UNTIL, "test": TRAINED_UNTIL}}
    return found | {"inputs": inputs} | changes


def refit(**changes: Any) -> dict[str, Any]:
    """Return the sound reports/refit.json of a model that learned no test day."""
    found = {
        "judged_until": TRAINED_UNTIL,
        "seen_until": TRAINED_UNTIL,
        "days": [],
        "crossfit": None,
        "shipped": DIGEST,
        "predictions": DIGEST,
    }
    return found | {"inputs": {"features": DIGEST, "model": DIGEST}} | changes


def facts(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "format": 2,
        "model_name": "ads",
        "model": "din",
        "train_until": TRAINED_UNTIL,
        "judged_until": TRAINED_UNTIL,
        "seen_until": TRAINED_UNTIL,
        "until": "2024-10-13",
        "protocol": dict(PROTOCOL),
        "rows": {"train": 1000, "valid": 100, "test": 1200},
        "inputs": {"raw": DIGEST, "features": DIGEST, "model": DIGEST, "shipped": DIGEST},
        "params": {"data": {"window_days": None, "history_days": None}, "featurize": {}, "train": {}},
        "negatives_drawn": False,
        "seed": 1,
        "packages": {"torch": "2.13.0"},
        "validation": {"raw": "open", "features": "open", "predictions": "open"},
        "evaluation": evaluation(),
    }
    return found | changes


def field_record(field: Field, rows: int) -> dict[str, Any]:
    """Return a field of the features' manifest, with edges or moments if it is numeric."""
    learned = {"edges": [float(edge) for edge in range(rows - 2)], "mean": 0.0, "std": 1.0}
    record = field.to_json() | {"rows": rows}
    return record | {key: learned[key] for key in sorted(field.form.learned - record.keys())}


def expectation(name: str, **changes: Any) -> dict[str, Any]:
    """Return an expectation that held."""
    found = {"name": name, "column": None, "observed": 0, "threshold": {"max": 0}, "severity": "critical"}
    return found | {"success": True} | changes


def raw_manifest(**changes: Any) -> dict[str, Any]:
    found = {"format": 2, "source": "movielens-100k", "params": {"positive_rating": 4.0}, "files": {}}
    found |= {"rows": 0, "days": []}
    return found | {"fields": {}, "protocol": "by_user", "order": None, "daily": False, "until": None} | changes


def features_manifest(**changes: Any) -> dict[str, Any]:
    found = {
        "format": 2,
        "raw": DIGEST,
        "params": dict(PROTOCOL),
        "protocol": "by_user",
        "order": "strict",
        "until": None,
    }
    found |= {"data": {"window_days": None, "history_days": None}, "first_day": "2024-10-01", "history_from": None}
    found |= {"max_history": 50, "fields": [], "shards": 1, "impressions": 0, "files": {}}
    found |= {"rows": {"train": 0, "valid": 0, "test": 0}, "train_until": TRAINED_UNTIL}
    return found | {"until": None, "held_out": [], "items": 0, "users": 0, "behaviours": 0} | changes


def parity(**changes: Any) -> dict[str, Any]:
    found = {"verdict": "open", "bundle": DIGEST, "paths": ["torch", "onnx", "scorer"], "cases": 1200, "flips": 0}
    found |= {"max_abs_probability_diff": 1e-7, "max_abs_logit_diff": 1e-7, "auc_delta": 0.0, "std": 0.1}
    return found | {"worst": {}, "reason": None} | changes


def machine(**changes: Any) -> dict[str, Any]:
    found = {"processor": "x86_64 vendor_id AuthenticAMD", "instructions": "AVX2", "device": "cpu", "threads": 1}
    found |= {"backend": "native", "library": "0123456789abcdef", "python": "3.11.7", "libc": "glibc 2.41"}
    return found | changes


def fetch_report(**changes: Any) -> dict[str, Any]:
    return {"fingerprint": DIGEST, "manifest": DIGEST} | changes
