"""A snapshot as the loop makes one: the step is taken, its update read, and the weights put back."""

import torch

from clipbench.contracts import Problem, Snapshot


def snapshot(problem: Problem, *, lr: float = 0.1) -> Snapshot:
    """One SGD step as `own`, and twice its reverse as `against`; `.grad` stays on the parameters."""
    model = problem.model
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    batch = next(problem.train_batches(0))
    problem.loss(model, batch).backward()
    gradient = {name: p.grad.clone() for name, p in parameters.items() if p.grad is not None}
    before = {name: p.detach().clone() for name, p in parameters.items()}
    torch.optim.SGD(parameters.values(), lr=lr).step()
    own = {name: p.detach() - before[name] for name, p in parameters.items()}
    with torch.no_grad():
        for name, p in parameters.items():
            p.copy_(before[name])
    against = {name: -2 * u for name, u in own.items()}
    return Snapshot(
        step=1,
        problem=problem,
        batch=batch,
        parameters=parameters,
        gradient=gradient,
        directions={"own": own, "against": against},
    )
