"""Find the files of a publisher's download: below a folder, inside a zip, or matched by a glob.

Publishers nest their files (`ml-20m/ratings.csv`), and users may unpack or recompress them. A file is therefore found
by its base name, in whatever folder, plain or followed by .gz, .bz2 or .zst. Any path that fsspec opens works, e.g.
s3://bucket/folder.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fsspec.implementations.zip import ZipFileSystem

from din.base.errors import InputError, listed
from din.base.workspace import Workspace
from din.data.files import File, as_glob, check_members, name_as, place_of, unreadable

KEY = "fetch.options.path"
"""The parameter that names the files."""
_PAGE = "docs/public-logs.md says which files it needs and where to get them"


@dataclass(frozen=True)
class Download:
    """The files at the path that `KEY` names."""

    place: str  # the path, as the user gave it
    files: tuple[File, ...]

    @classmethod
    def at(cls, workspace: Workspace, path: str | None) -> "Download":
        """Find the files at a path, `fetch.options.path`.

        Raises:
            InputError: there is no path, or it holds no file or is unreadable.
        """
        if path is None:
            raise InputError(f"{KEY}: missing; the source reads files, so give their path. {_PAGE}")
        with unreadable(f"{KEY}: {path!r}"):
            system, place = place_of(workspace, path, KEY)
            if place.lower().endswith((".zip", ".whl")) and system.isfile(place):
                archive = ZipFileSystem(fo=system.open(place, "rb"))
                check_members(archive.zip, f"{KEY}: {path!r}")
                files = [File(archive, member, f"{path}/{member}") for member in archive.find("")]
            else:
                matches = sorted(system.find(place) if system.isdir(place) else system.glob(as_glob(system, place)))
                plain = [file for file in matches if not system.isdir(file)]
                files = [File(system, file, name_as(workspace, path, system, file)) for file in plain]
        if not files:
            raise InputError(f"{KEY}: {path!r} holds no file; relative paths start at the project's root. {_PAGE}")
        return cls(path, tuple(files))

    def only(self, fits: Callable[[str], bool], expected: str) -> File:
        """Return the one file whose base name fits.

        Raises:
            InputError: there is none, or there are several. The message lists the files.
        """
        matches = [file for file in self.files if fits(_base(file))]
        if not matches:
            raise InputError(
                f"{KEY}: {self.place!r} holds no {expected}, plain or with .gz, .bz2 or .zst; "
                f"it holds {_names(self.files)}. Unpack other archives first; {_PAGE}"
            )
        if len(matches) > 1:
            raise InputError(
                f"{KEY}: {self.place!r} holds {len(matches)} files that may be {expected}: {_names(matches)}; "
                "expected one: leave the others out, e.g. with the glob folder/*Electronics*"
            )
        return matches[0]

    def need(self, *names: str) -> File:
        """Return the one file with one of these base names; see `only`."""
        return self.only(lambda name: name in names, " or ".join(names))

    def has(self, name: str) -> bool:
        """Return whether there is a file with this base name."""
        return any(_base(file) == name for file in self.files)


def _base(file: File) -> str:
    name = file.path.rsplit("/", 1)[-1]
    return name.rsplit(".", 1)[0] if file.compression else name


def _names(files: Iterable[File]) -> str:
    return listed(sorted(file.path.rsplit("/", 1)[-1] for file in files))
