"""Every test runs on one thread, tries the same examples each time, without a clock, and hears Ctrl-C.

The suite is parallel over tests, and the number of threads changes the bits. A shell starts a job in the background
deaf to Ctrl-C, and whatever that job starts would inherit it: the tests that interrupt a run would wait for ever.
Hypothesis would fail a test that a busy machine holds up.
"""

import signal

import torch
from hypothesis import settings

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("clipbench", deadline=None, derandomize=True)
settings.load_profile("clipbench")
