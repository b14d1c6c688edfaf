"""The runs whose numbers are kept: each thing on the shelves, each clip, schedule and budget, a few steps each.

Most are on `heavy_tail`, which needs no data of the user's disk and has a matrix and a vector to train. Options that
the shelf may come to call otherwise by default are said here.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

from clipbench.budget import Budget
from clipbench.records import CLIP_PLACES, CLIP_SCOPES, Arm, Choice, ClipSettings, Group, Measure, Run, Schedule

STEPS = 4


def _task(name: str, **options: Any) -> Choice:
    return Choice(name, name, f"clipbench.tasks.{name}:build", options)


def _arm(name: str, *, clip: ClipSettings | None = None, **options: Any) -> Arm:
    target = name if ":" in name else f"clipbench.optimizers.{name}:build"
    return Arm(name, Choice(name, name, target, options), clip)


def _probe(name: str, **options: Any) -> Choice:
    return Choice(name, name, f"clipbench.probes.{name}:measure", options)


PLAIN = _task("heavy_tail", groups=3, features=6, batch=4)
ROWS = _task("heavy_tail", groups=3, features=6)
LANGUAGE = _task("code_lm", width=8, layers=1, heads=2, context=8, batch=2)
TRANSLATION = _task("number_translation", width=8, layers=1, heads=2, batch=2)

SGD = _arm("sgd", lr=0.1, momentum=0.9, dampening=0.9)
ADAM = _arm("adam", lr=0.01)

TASKS = {
    "autoencoder": _task("autoencoder", width=12, bottleneck=4, batch=4),
    "byte_lstm": _task("byte_lstm", width=8, context=8, batch=2),
    "causal_lm": _task("causal_lm", length=16, batch=2),
    "code_lm": LANGUAGE,
    "code_lm, two layers": _task("code_lm", width=12, layers=2, heads=3, context=16, batch=3),
    "code_tokens": _task("code_tokens", classes="zipf", vocabulary=40, width=6, context=2, batch=8),
    "code_tokens, full": _task("code_tokens", classes="zipf", vocabulary=8, width=3, context=1, batch="full"),
    "code_tokens, reweighted": _task("code_tokens", classes="reweighted", vocabulary=40, width=6, context=2, batch=8),
    "code_tokens, uniform": _task("code_tokens", classes="uniform", vocabulary=40, width=6, context=2, batch=8),
    "digits, vit": _task("digits", model="vit", batch=4),
    "digits, cnn": _task("digits", model="cnn", batch=4),
    "heavy_tail": PLAIN,
    "heavy_tail, whole": ROWS,
    "images, resnet": _task("images", architecture="resnet18", batch=4),
    "images, vit": _task("images", architecture="vit", batch=4),
    "masked_lm": _task("masked_lm", length=16, batch=2),
    "masked_tokens": _task("masked_tokens", vocabulary=40, width=8, layers=1, heads=2, context=8, masked=0.25, batch=4),
    "number_translation": TRANSLATION,
    "pinn": _task("pinn", width=6, frequency=3, batch=8),
    "quadratic": _task("quadratic", dimension=8),
    "quadratic, linear, rotated": _task("quadratic", dimension=8, spectrum="linear", rotated=True),
    "quadratic, one bad, opposed, noisy": _task(
        "quadratic", dimension=8, spectrum="one_bad", correlation="opposed", noise=0.1, batch=2
    ),
    "seq2seq": _task("seq2seq", batch=2),
    "text_classification": _task("text_classification", length=16, batch=2),
    "quadratic, uncorrelated": _task("quadratic", dimension=8, condition=10.0, correlation="none"),
}

# Adafactor's ε₁ is said, in both of its usual values: its default is not the shelf's to keep.
ARMS = {
    "adafactor, source's eps": _arm("adafactor", lr=0.03, eps=(1e-30, 1e-3)),
    "adafactor, torch's eps": _arm("adafactor", lr=0.03, eps=(None, 1e-3)),
    "adafactor, all options": _arm("adafactor", lr=0.03, beta2_decay=-0.5, eps=(1e-30, 1e-2), d=2.0, weight_decay=0.1),
    "adam": ADAM,
    "adam, all options": _arm("adam", lr=0.01, betas=(0.8, 0.9), eps=1e-4, weight_decay=0.1, amsgrad=True),
    "adamw": _arm("adamw", lr=0.01),
    "adamw, all options": _arm("adamw", lr=0.01, betas=(0.8, 0.9), eps=1e-4, weight_decay=0.1, amsgrad=True),
    "lion": _arm("lion", lr=0.01),
    "lion, all options": _arm("lion", lr=0.01, betas=(0.5, 0.7), weight_decay=0.1),
    "nadam": _arm("nadam", lr=0.01),
    "nadam, all options": _arm(
        "nadam", lr=0.01, betas=(0.8, 0.9), eps=1e-4, weight_decay=0.1, momentum_decay=0.1, decoupled_weight_decay=True
    ),
    "normalized_sgd": _arm("normalized_sgd", lr=0.01),
    "normalized_sgd, without momentum": _arm("normalized_sgd", lr=0.01, momentum=0.0),
    "radam": _arm("radam", lr=0.01),
    "radam, all options": _arm(
        "radam", lr=0.01, betas=(0.8, 0.5), eps=1e-4, weight_decay=0.1, decoupled_weight_decay=True
    ),
    "rmsprop": _arm("rmsprop", lr=0.01),
    "rmsprop, all options": _arm(
        "rmsprop", lr=0.01, alpha=0.9, eps=1e-4, weight_decay=0.1, momentum=0.5, centered=True
    ),
    "sgd": _arm("sgd", lr=0.1),
    "sgd, momentum": SGD,
    "sgd, all options": _arm("sgd", lr=0.1, momentum=0.5, weight_decay=0.1, nesterov=True),
    "signsgd": _arm("signsgd", lr=0.01),
    "signsgd, without momentum": _arm("signsgd", lr=0.01, momentum=0.0),
}

# Muon takes matrices alone, so that it is in an arm with groups.
_MATRICES = Group("matrices", _arm("muon", lr=0.02).optimizer, kind="matrix")
_REST = Group("rest", ADAM.optimizer)
MIXED = Arm("muon + adam", Choice("muon + adam", "muon + adam", ""), groups=(_MATRICES, _REST))

AROUND = {
    "lookahead, clipped": replace(
        SGD,
        clip=ClipSettings(0.1),
        wrap=(Choice("lookahead", "lookahead", "clipbench.wrappers.lookahead:build", {"k": 2}),),
    ),
    "sam": replace(ADAM, wrap=(Choice("sam", "sam", "clipbench.wrappers.sam:build", {"rho": 0.1}),)),
    "nothing: LBFGS with its closure": _arm("torch.optim:LBFGS", lr=0.1, max_iter=2),
}

SCHEDULES = {
    "constant": Schedule(),
    "constant after a warm-up": Schedule("constant", warmup=0.5),
    "linear": Schedule("linear"),
    "linear after a warm-up, to a tenth": Schedule("linear", warmup=0.3, final=0.1),
    "cosine": Schedule("cosine"),
    "cosine after a warm-up, to a tenth": Schedule("cosine", warmup=0.3, final=0.1),
    "wsd": Schedule("wsd", decay=0.6),
    "wsd after a warm-up, to a tenth": Schedule("wsd", warmup=0.3, final=0.1, decay=0.6),
}

BUDGETS = {"samples": (PLAIN, Budget(14, "samples")), "tokens": (LANGUAGE, Budget(40, "tokens"))}

# As few as show each quantity; `chunk` is said where the free memory would decide it.
PROBES = {
    "batch_sharpness": _probe("batch_sharpness", batches=2),
    "coordinates": _probe("coordinates", percents=(10.0, 50.0), chunk=2),
    "kinks": _probe("kinks", chunk=2),
    "landscape": _probe("landscape", multiples=(0.25, 1.0, 4.0)),
    "layers": _probe("layers", depth=1, chunk=2),
    "norms": _probe("norms"),
    "sharpness": _probe("sharpness", chunk=2),
    "spectrum": _probe("spectrum", products=40, samples=2, chunk=2),
    "taylor": _probe("taylor", same_batch=True, chunk=2),
}
SLOW = ("spectrum",)  # these see the small problem alone
GHOSTS = (
    replace(ADAM, name="adam, 50 %", clip=ClipSettings(0.5, of="numerator")),
    replace(SGD, name="sgd, 10 %", clip=ClipSettings(0.1)),
    ARMS["normalized_sgd"],
)


def _run(*, task: Choice = PLAIN, arm: Arm = SGD, budget: Budget | None = None, **measure: Any) -> Run:
    return Run("golden", task, arm, budget or Budget(STEPS, "steps"), 1, Measure(1, 2, **measure))


def _clips() -> Iterator[tuple[str, Arm]]:
    """Each place, fraction and scope on an optimizer that it works with, and each rule that there is."""
    for place, fraction, scope in product(CLIP_PLACES, (0.1, 0.5), CLIP_SCOPES):
        arm = ADAM if place == "numerator" else SGD
        yield (
            f"{fraction:.0%} of the {place} by {scope}",
            replace(arm, clip=ClipSettings(fraction, of=place, scope=scope)),
        )
    for place, fraction in product([place for place in CLIP_PLACES if place != "numerator"], (0.1, 0.5)):
        for arm in (SGD, ADAM):
            clip = ClipSettings(fraction, of=place, scale="norm")
            yield f"{fraction:.0%} of the {place} of {arm.name}, length kept", replace(arm, clip=clip)
    half = ClipSettings(0.5, of="numerator")
    for name in ("adafactor, source's eps", "adafactor, torch's eps", "adamw"):
        yield f"50% of the numerator of {name}", replace(ARMS[name], clip=half)
    for fused in (True, False):
        torchs = _arm("torch.optim:Adam", clip=half, lr=0.01, fused=fused, foreach=not fused)
        yield f"50% of the numerator of torch's {'fused' if fused else 'foreach'} Adam", torchs
    yield "10% of the gradient of normalized_sgd", replace(ARMS["normalized_sgd"], clip=ClipSettings(0.1))
    yield "threshold", replace(SGD, clip=ClipSettings(threshold=0.02))
    yield "norm", replace(SGD, clip=ClipSettings(norm=0.1))


def _cases() -> Iterator[tuple[str, Run]]:
    for name, task in TASKS.items():
        for arm in (SGD, ADAM):
            small = replace(arm, optimizer=replace(arm.optimizer, options={**arm.optimizer.options, "lr": 0.01}))
            yield f"task: {name}: {arm.name}", _run(task=task, arm=small)
    for name, arm in ARMS.items():
        yield f"optimizer: {name}", _run(arm=arm)
    for name, arm in _clips():
        yield f"clip: {name}", _run(arm=arm)
    for place in ("gradient", "update"):  # of this network, many coordinates of the gradient are zero
        idle = replace(SGD, clip=ClipSettings(0.5, of=place, ignore_zeros=True))
        yield f"clip: 50% of the {place} without zeros", _run(task=TASKS["digits, cnn"], arm=idle)
    yield "groups: muon and adam", _run(arm=MIXED, task=LANGUAGE)
    clipped = replace(MIXED, clip=ClipSettings(0.1, scope="group"), schedule=Schedule("cosine"))
    yield "groups: clipped by group, beside a ghost", _run(arm=clipped, ghosts=(replace(MIXED, name="ghost"),))
    for name, arm in AROUND.items():
        yield f"around: {name}", _run(arm=arm, task=LANGUAGE)
    for name, schedule in SCHEDULES.items():
        yield f"schedule: {name}", _run(arm=replace(SGD, schedule=schedule))
    for name, (task, budget) in BUDGETS.items():
        yield f"budget: {name}", _run(task=task, arm=replace(SGD, schedule=Schedule("linear")), budget=budget)
    for name, probe in PROBES.items():
        yield f"probe: {name}", _run(task=PLAIN if name in SLOW else TRANSLATION, arm=SGD, probes=(probe,))
        yield f"probe: {name} beside ghosts", _run(probes=(probe,), ghosts=GHOSTS)
    together = tuple(PROBES[name] for name in PROBES)
    yield "probes: all beside ghosts", _run(probes=together, ghosts=GHOSTS)
    yield "probes: at fractions of the budget", _run(probes=(PROBES["norms"],), probe_at=(0.5, 1.0))


CASES = dict(_cases())
