"""Seams: registries that find things of one kind by name, built in or from a plugin.

    SOURCES: Seam[Source] = Seam("source", {"table": "din.data.by_day"})   # in the package that owns the seam

    @SOURCES.register("sqlite", Options)                                    # in that module, or in a plugin
    class Sqlite(Source): ...

Built-in things register in the same way as a plugin's. A seam imports a built-in module when something in it is needed,
so a name can be checked without loading torch. `din.plugins` imports the files that params.yaml names.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar, cast

from pydantic import with_config

from din.base import documents
from din.base.errors import InputError, listed, shown

T = TypeVar("T")
C = TypeVar("C")


@dataclass(frozen=True)
class Registered(Generic[T]):
    """A registered thing.

    Attributes:
        thing: the class or function.
        options: a frozen dataclass with defaults, the parameters of the thing itself. None: it has none.
        module: the module that registered it.
    """

    thing: T
    options: type[Any] | None
    module: str

    def parse(self, values: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Return the keyword argument `options` of the thing, or nothing if it has no options.

        Raises:
            InputError: a key is unknown, or a value is of a wrong type. `where` names the place of `values`.
        """
        if self.options is not None:
            return {"options": documents.check(self.options, dict(values), where)}
        if values:
            raise InputError(f"{where}: {listed(values)}: expected nothing here, since this one has no options")
        return {}


class Seam(Generic[T]):
    """Things of one kind, by name, in the order of their registration.

    Args:
        noun: the kind, as messages name it.
        built_in: the modules that register the built-in things, or a map from their names to their modules if names
            must be known before the modules are imported.
        group: the group of entry points of packages beside `din`: each names a thing and the module that registers it.
    """

    def __init__(self, noun: str, built_in: Mapping[str, str] | Sequence[str], group: str | None = None) -> None:
        self._noun = noun
        self._built_in = built_in
        self._named = isinstance(built_in, Mapping)
        self._group = group
        self._things: dict[str, Registered[T]] = {}

    @cached_property
    def _modules(self) -> dict[str, str]:
        modules = (
            dict(self._built_in) if isinstance(self._built_in, Mapping) else {name: name for name in self._built_in}
        )
        if self._group:
            modules |= {entry.name: entry.module for entry in entry_points(group=self._group)}
        return modules

    def register(self, name: str, options: type[Any] | None = None) -> Callable[[C], C]:
        """Return a decorator that makes a thing known by this name.

        Args:
            name: the name in params.yaml and in reports.
            options: see `Registered`; keys that it does not declare are errors.

        Raises:
            InputError: another module has registered the name.
        """

        def add(thing: C) -> C:
            module = getattr(thing, "__module__", "")
            earlier = self._things.get(name)
            owner = earlier.module if earlier else self._modules.get(name, module) if self._named else module
            if owner != module:
                raise InputError(f"{self._noun} {name!r}: {owner} has registered this name; choose another in {module}")
            strict = options and with_config(documents.STRICT)(options)
            self._things[name] = Registered(cast(T, thing), strict, module)
            return thing

        return add

    def __getitem__(self, name: str) -> Registered[T]:
        """Return a thing.

        Raises:
            InputError: there is nothing of this name.
        """
        if self._named and name in self._modules and name not in self._things:
            import_module(self._modules[name])
        elif not self._named:
            self._load()
        if name not in self._things:
            raise InputError(self.unknown(name))
        return self._things[name]

    def __iter__(self) -> Iterator[str]:
        """Yield all names: the built-in ones first, in the order of their modules, however these were imported."""
        if not self._named:
            self._load()
            place = {module: number for number, module in enumerate(self._modules)}
            return iter(sorted(self._things, key=lambda name: place.get(self._things[name].module, len(place))))
        return iter(dict.fromkeys((*self._modules, *self._things)))

    def of_module(self, module: str) -> list[str]:
        """Return the names that a module has registered."""
        return [name for name, thing in self._things.items() if thing.module == module]

    def unknown(self, name: object) -> str:
        """Return the message about a name that nothing here has."""
        advice = "choose one, or name the file that registers it in plugins of params.yaml"
        return f"{shown(name)} is not a {self._noun}; there are {listed(self)}; {advice}"

    def check(self, name: str, options: Mapping[str, Any], where: str) -> None:
        """Check a name and the options of a plugin's thing, without importing what is built in.

        Raises:
            InputError: the name is unknown, or the options do not fit. `where` is the key that holds the name.
        """
        if name not in set(self):
            raise InputError(f"{where}: {self.unknown(name)}")
        if name in self._things:
            self._things[name].parse(options, f"{where.rpartition('.')[0]}.options")

    def _load(self) -> None:
        for module in self._modules.values():
            import_module(module)
