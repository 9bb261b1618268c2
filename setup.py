"""Build a wheel with compiled kernels where there is a C compiler, and a wheel for all machines where there is none.

Everything else about the package is in pyproject.toml. A wheel with kernels is for one kind of machine and any version
of Python 3, since cffi loads them.
"""

import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT))  # a build does not have the package
from din.ops.native.compiling import BUILT, build_levels, has_compiler  # noqa: E402


class BuildWithKernels(build_py):
    """Build the package, and the kernels into it."""

    def run(self) -> None:
        """Copy the sources, and compile unless the package is installed in place, where it compiles at first use."""
        super().run()
        if has_compiler() and not self.editable_mode:
            build_levels(Path(self.build_lib) / BUILT.relative_to(ROOT))


class WheelOfMachine(bdist_wheel):
    """Name a wheel with kernels after the machine that can run them."""

    def finalize_options(self) -> None:
        """Tell a wheel with kernels from one of Python alone."""
        super().finalize_options()
        self.root_is_pure = not has_compiler()

    def get_tag(self) -> tuple[str, str, str]:
        """Return the tag, whose kernels need no version of Python."""
        platform = super().get_tag()[2]
        return "py3", "none", platform


setup(cmdclass={"build_py": BuildWithKernels, "bdist_wheel": WheelOfMachine})
