"""Every test runs on one thread, and hears Ctrl-C.

The suite is parallel over tests, and the number of threads changes the bits. A shell starts a job in the background
deaf to Ctrl-C, and whatever that job starts would inherit it: the tests that interrupt a run would wait for ever.
"""

import signal

import torch

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)
