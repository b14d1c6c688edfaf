"""Copies the specs and claims of benchmarks/ into the wheel: `clipbench run quickstart` works outside a clone."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithBenchmarks(build_py):
    """setuptools' own step, and then the files; an editable installation finds them in the clone."""

    def run(self) -> None:
        """Build the package."""
        super().run()
        if not self.editable_mode:
            for path in sorted(Path("benchmarks").rglob("*.yaml")):
                target = Path(self.build_lib, "clipbench", path)
                self.mkpath(str(target.parent))
                self.copy_file(str(path), str(target))


setup(cmdclass={"build_py": BuildWithBenchmarks})
