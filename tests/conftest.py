"""Every test runs on one thread: the suite is parallel over tests, and the number of threads changes the bits."""

import torch

torch.set_num_threads(1)
