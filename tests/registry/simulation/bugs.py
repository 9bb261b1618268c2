"""Bugs to plant in the registry, to prove that the simulation finds them.

A bug is a small change of the source of one function. It lasts as long as the context in which it is planted.
"""

import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from din.registry import objects, records, registry, stored_comparisons
from din.registry.objects import Objects
from din.registry.registry import Registry

from .history import snapshots


@dataclass(frozen=True)
class Bug:
    """A change of a function.

    Attributes:
        name: the mistake, in words.
        function: the function or method.
        edits: maps text that appears once in its source to the text that replaces it.
    """

    name: str
    function: Callable[..., Any]
    edits: Mapping[str, str]

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Plant the bug wherever the function is known by its name."""
        snapshots()  # made by sound code
        name = self.function.__name__
        source = textwrap.dedent(inspect.getsource(self.function))
        for old, new in self.edits.items():
            assert source.count(old) == 1, f"{self.name}: {old!r} appears {source.count(old)} times in {name}"
            source = source.replace(old, new)
        module = inspect.getmodule(self.function)
        made: dict[str, Any] = {}
        exec(compile(source, f"<{self.name}>", "exec"), vars(module), made)
        owner = self.function.__qualname__.rpartition(".")[0]
        owners = [getattr(module, owner)] if owner else [objects, records, registry, stored_comparisons]
        places = [place for place in owners if inspect.unwrap(vars(place).get(name, ())) is self.function]
        assert places, f"{self.name}: {name} was not found"
        with ExitStack() as patches:
            for place in places:
                patches.enter_context(mock.patch.object(place, name, made[name]))
            yield


_APPEND = "self.append(version, previous, by=by, reason=reason, run_id=run_id, approval=approval, files=files)"
_EVIDENCE = "files = self.put_run(run_id, evidence)"
_MANIFEST = 'self.objects.put(f"bundles/{version}/{MANIFEST}", directory / MANIFEST)'
_STORED = 'stored = self.objects.keys(f"bundles/{version}")'
_CONTENT = "content = documents.dump(record)"
_SEAL = "objects.create(seal_key(record.number, sha256(content).hexdigest()), content)"
_READ_BACK = "if not self.exists(key):\n            raise\n        return False"

BUGS = (
    Bug(
        "the record is appended before the bundle is stored",
        Registry.promote,
        {
            "if self.put_bundle(": f"{_EVIDENCE}\n    record = {_APPEND}\n    if self.put_bundle(",
            f"    {_EVIDENCE}\n    return {_APPEND}": "    return record",
        },
    ),
    Bug(
        "the evidence is not stored",
        Registry.put_run,
        {'self.objects.put(f"{run_key(run_id)}/{folder}/{name}", content)': "pass"},
    ),
    Bug("the manifest is stored first", Registry.put_bundle, {_STORED: f"{_MANIFEST}\n    {_STORED}"}),
    Bug("the manifest is not stored", Registry.put_bundle, {_MANIFEST: "pass"}),
    Bug(
        "a stored file is not compared",
        Registry.put_bundle,
        {"elif problems := self._problem(key, digest):": "elif problems := []:"},
    ),
    Bug(
        "a promotion writes no claim",
        Registry._claim,
        {'self.objects.put(f"{CLAIMS}/{owner}/promotion", b"")': "pass"},
    ),
    Bug("a promotion ignores the claim of gc", Registry._claim, {"if removals:": "if False:"}),
    Bug("a record is put, not created", Objects.create, {', mode="create"': ""}),
    Bug("a conflict is not read back", Objects.create, {_READ_BACK: "return False"}),
    Bug("nonces are not compared", records.append, {"written.nonce != record.nonce": "False"}),
    Bug("the own record counts as another writer's", records.append, {"written.nonce != record.nonce": "True"}),
    Bug(
        "the seal is written before the record",
        records.append,
        {"if not objects.create_document": f"{_CONTENT}\n    {_SEAL}\n    if not objects.create_document"},
    ),
    Bug("a record gets no seal", records.append, {"    seal(objects, record.number)": "    pass"}),
    Bug("the record before is not sealed", Registry.append, {"    if parent:\n": "    if False:\n"}),
    Bug(
        "append ignores which champion was compared",
        Registry.append,
        {
            "number = previous": "previous = log.entries[-1].record if log.entries else None\n    number = previous",
        },
    ),
    Bug(
        "> for >= in the check of the number",
        Registry.append,
        {"len(log.entries) >= number": "len(log.entries) > number"},
    ),
    Bug(
        "the number is that of a listing",
        Registry.append,
        {"number = previous.number + 1 if previous else 1": 'number = len(self.objects.keys("promotions")) + 1'},
    ),
    Bug("the parent is the record before the last", Registry.append, {"log.entries[-1]": "log.entries[-2:][0]"}),
    Bug(
        "seals are listed once",
        records._Listing.of.__func__,
        {"if any(number not in seals": "if False and any(number not in seals"},
    ),
    Bug(
        "a rollback does not verify the bundle",
        Registry.rollback,
        {"problems := self._bundle_problems(version)": "problems := []"},
    ),
    Bug("fetch does not check hashes", Registry.fetch, {"if sha256_file(path) != digest:": "if False:"}),
    Bug(
        "fetch trusts the files that it finds",
        Registry.fetch,
        {"files = ": "if target.exists():\n        return target\n    files = "},
    ),
    Bug(
        "verify calls an expired token damage", objects.noted.__wrapped__, {"    except Refused:\n        raise\n": ""}
    ),
    Bug(
        "a comparison is put, not created",
        stored_comparisons.store,
        {"registry.objects.create(": "not registry.objects.put("},
    ),
    Bug(
        "a comparison is stored again",
        stored_comparisons.store,
        {"if found := _up_to(candidate, earlier):": "if found := []:"},
    ),
    Bug("the number of a comparison skips one", stored_comparisons.store, {"len(earlier) + 1": "len(earlier) + 2"}),
    Bug("verify reads no comparisons", stored_comparisons.damage, {"read(registry, champion)": "pass"}),
    Bug("gc keeps no comparisons", Registry.gc, {'in ("bundles", "looks")}': 'in ("bundles",)}'}),
    Bug("gc ignores the grace period", Registry.gc, {"max(keys.values()) < before": "True"}),
    Bug("gc goes by the oldest object", Registry.gc, {"max(keys.values()) < before": "min(keys.values()) < before"}),
    Bug(
        "gc keeps only the champion's bundle",
        Registry.gc,
        {"for r in history for area in": "for r in history[-1:] for area in"},
    ),
    Bug("gc keeps no evidence", Registry.gc, {"kept |= {run_key(r.run_id) for r in wanted if r.run_id}": "pass"}),
    Bug("gc never forgets the claims of a killed gc", Registry.gc, {"_is_removal(key) and": "False and"}),
    Bug("gc removes the manifest last", Registry._remove, {"not key.endswith": "key.endswith"}),
    Bug("gc does not look again before it removes", Registry._remove, {"if unchanged:": "if True:"}),
    Bug("gc writes no claim", Registry._remove, {'self.objects.put(claim, b"")': "pass"}),
    Bug("gc leaves its claim", Registry._remove, {"self.objects.delete(claim)": "pass"}),
    Bug(
        "removing a missing object is an error",
        Objects.delete,
        {"except FileNotFoundError as error:": "except ZeroDivisionError as error:"},
    ),
    Bug("a conflict is bad input", objects._reaching.__wrapped__, {"raise _Conflict(": "raise InputError("}),
    Bug(
        "an expired token is worth a retry",
        objects._reaching.__wrapped__,
        {"if reason := _refusal(at, cause, error):": "if reason := None:"},
    ),
)
