"""What the fork server does once, so that no run does it: load torch, and what torch loads at its first step."""

import torch

from clipbench.running import worker as worker


def _load_what_the_first_step_loads() -> None:
    """Importing torch leaves its compiler out; the first step of any optimizer brings it in, which takes seconds.

    No gradient is computed here: autograd would start threads, and those do not survive a fork.
    """
    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    torch.optim.SGD([parameter], lr=0.1).step()


_load_what_the_first_step_loads()
