"""What to write where an optimizer does not run by its name alone: in a spec, or in a file beside it."""


def factory(function: str, arguments: str) -> str:
    """A function of the user's own, which hands over what no spec can say."""
    return (
        f'write a factory in mine.py beside the spec, `def {function}({arguments}): ...`, and `use: "mine:{function}"`'
    )


FACTORY = factory("build", "named_parameters, *, lr")


def around(use: str) -> str:
    """The thing as a wrapper around an optimizer."""
    return f'write it under `wrap`, as in `{{use: adamw, lr: 0.001, wrap: [{{use: "{use}"}}]}}`'


def of_matrices(use: str) -> str:
    """The optimizer for the matrices alone."""
    return (
        f'give it a group, as in `groups: {{hidden: {{kind: matrix, use: "{use}", lr: 0.001}}, '
        "rest: {use: adamw, lr: 0.001}}`"
    )
