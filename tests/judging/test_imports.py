import subprocess
import sys

import pytest


@pytest.mark.slow
def test_judging_and_report_load_neither_torch_nor_scipy() -> None:
    program = """
import sys
import clipbench.judging.checks.audit, clipbench.judging.claims.judge, clipbench.judging.compare
import clipbench.report.audit, clipbench.report.claims
import clipbench.judging.gate.check, clipbench.judging.compare, clipbench.judging.noise
import clipbench.report.check, clipbench.report.junit
import clipbench.report.listing, clipbench.report.progress, clipbench.report.readme
import clipbench.report.render, clipbench.report.show
print([name for name in ("torch", "scipy", "numpy") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
