"""Time and peak memory of every loss, forward and backward, over rows and classes.

python -m benchmarks.losses [--short]

Memory is what forward and backward take beyond the inputs, gradients of the inputs included; less than a MiB may fit
into what the process had already. A size at which a loss is expected to need more than half of all memory is not run,
and the expectation is told. `ramp`, `annealed_scale` (numbers of time) and `clip` (of a critic's weights) take nothing
that grows with the rows and are left out. For `masked_language` rows are masked tokens and classes the vocabulary.
Letters: R rows, C classes, D width, K keys, P parameters.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import measure
from rocl import losses
from rocl.predict import device

WIDTH, KEYS = 128, 4096  # of vectors; in a queue
CLASSES, ROWS = 7, 512  # while the other of the two grows


@dataclass(frozen=True)
class Inputs:
    logits: Tensor  # (R, C), learned
    teacher: Tensor  # (R, C)
    gold: Tensor  # (R, C), one 1 a row
    vectors: Tensor  # (R, D), learned
    partners: Tensor  # (R, D)
    queue: Tensor  # (K, D)
    critic: nn.Module
    domain: Tensor  # (R,), 0 and 1
    owners: Tensor  # (R,), the row that a masked token is of: there R counts tokens, 8 a row


LOSSES: dict[str, Callable[[Inputs], Tensor]] = {
    "classify, one": lambda x: losses.classify(x.logits, x.gold, kind="one"),
    "classify, many": lambda x: losses.classify(x.logits, x.gold, kind="many"),
    "smooth": lambda x: losses.classify(x.logits, losses.smooth(x.gold, 0.1, kind="one"), kind="one"),
    "anneal": lambda x: losses.classify(x.logits, mixed(x), kind="one"),
    "disagreement, one": lambda x: losses.disagreement(x.logits, x.teacher, kind="one"),
    "disagreement, many": lambda x: losses.disagreement(x.logits, x.teacher, kind="many"),
    "distil, one": lambda x: losses.distil(x.logits, x.teacher, 2.0, kind="one"),
    "distil, many": lambda x: losses.distil(x.logits, x.teacher, 2.0, kind="many"),
    "jafari": lambda x: losses.jafari(x.logits, x.teacher, x.gold, 0.5, tau_max=7, first_phase=0.7, kind="one"),
    "match_logits": lambda x: losses.match_logits(x.logits, x.teacher),
    "uncertain": lambda x: losses.uncertain(losses.classify(x.logits, x.gold, kind="one"), x.logits[0, 0]),
    "masked_language": lambda x: losses.masked_language(x.logits, x.gold.argmax(1), x.owners, len(x.gold)),
    "approach": lambda x: losses.approach(x.vectors[:, None], x.partners),
    "reverse": lambda x: losses.reverse(x.vectors, 0.5),
    "wasserstein": lambda x: losses.wasserstein(x.critic(x.vectors)[:, 0], x.domain),
    "slope_penalty": lambda x: losses.slope_penalty(x.critic, x.vectors, x.partners, x.gold[:, :1]),
    "summed": lambda x: losses.summed(gradients(x), np.random.default_rng(0))[0],
    "pcgrad": lambda x: losses.pcgrad(gradients(x), np.random.default_rng(0))[0],
}
AMONG_ALL: dict[str, Callable[[Inputs], Tensor]] = {  # every row meets every other, or every key
    "supervised_contrastive": lambda x: losses.supervised_contrastive(x.vectors, x.gold),
    "supervised_contrastive, domain": lambda x: losses.supervised_contrastive(x.vectors, x.gold, domain=x.domain),
    "info_nce": lambda x: losses.info_nce(x.vectors, x.partners),
    "momentum_contrast": lambda x: losses.momentum_contrast(x.vectors, x.partners, x.queue),
}
FULL = {"rows": (32, 512, 8192), "classes": (2, 100, 1000), "among_all": (1024, 4096, 16384, 65536), "rounds": 7}
SHORT = {"rows": (512,), "classes": (100,), "among_all": (256, 1024), "rounds": 3}


def mixed(x: Inputs) -> Tensor:
    """Gold and soft labels, half and half, (R, C)."""
    return losses.anneal(x.gold, losses.soften(x.teacher, kind="one"), 0.5)


def gradients(x: Inputs) -> dict[str, Tensor]:
    """Two tasks' gradients (P,), one number for each of the vectors'."""
    return {"one": x.vectors.detach().flatten(), "two": x.partners.flatten()}


def prepared(name: str, rows: int, classes: int) -> Callable[[], None]:
    """Makes the inputs; returns the work, a forward and a backward pass."""
    torch.manual_seed(0)
    logits, teacher = torch.randn(2, rows, classes).to(device())
    vectors, partners = torch.randn(2, rows, WIDTH).to(device())
    critic = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1)).to(device())
    x = Inputs(
        logits=logits.requires_grad_(),
        teacher=teacher,
        gold=nn.functional.one_hot(torch.randint(classes, (rows,)), classes).float().to(device()),
        vectors=vectors.requires_grad_(),
        partners=partners,
        queue=torch.randn(KEYS, WIDTH).to(device()),
        critic=critic,
        domain=(torch.arange(rows) % 2).to(device()),
        owners=(torch.arange(rows) // 8).to(device()),
    )
    loss = (LOSSES | AMONG_ALL)[name]

    def work() -> None:
        x.logits.grad = x.vectors.grad = None
        value = loss(x)
        if value.requires_grad:
            value.sum().backward()

    return work


def warmed(name: str, rows: int, classes: int) -> Callable[[], None]:
    """The same once the libraries are in memory."""
    prepared(name, 8, 2)()
    return prepared(name, rows, classes)


def expected(found: dict[int, float], size: int) -> float:
    """MiB at a size, from those found at smaller ones: on the line through their logarithms, of one its square."""
    if not found or math.inf in found.values():
        return math.inf if found else 0.0
    growth = measure.exponent(list(found), list(found.values())) or 2.0
    return found[max(found)] * (size / max(found)) ** growth


def peaks(name: str, sizes: Sequence[tuple[int, int]]) -> list[dict]:
    """A line for each (R, C), which grow, with the peak of memory there."""
    lines, found = [], {}
    for rows, classes in sizes:
        mib, why_not = expected(found, rows * classes), ""
        if mib == math.inf:
            mib, why_not = None, "a smaller size failed"
        elif mib > measure.memory() / 2:
            why_not = f"would take some {mib / 1024:,.0f} GiB"
        else:
            mib = measure.peak(warmed, name, rows, classes)
            why_not = "failed" if mib is None else ""
        found[rows * classes] = math.inf if mib is None else max(mib, 1.0)
        known = None if why_not else mib
        lines.append({"loss": name, "rows": rows, "classes": classes, "peak_mib": known, "why_not": why_not})
    return lines


def run(
    *,
    rows: Sequence[int],
    classes: Sequence[int],
    among_all: Sequence[int],
    rounds: int,
    names: Sequence[str] = (*LOSSES, *AMONG_ALL),
) -> None:
    lines = []
    for name in names:
        lines += peaks(name, [(size, CLASSES) for size in (among_all if name in AMONG_ALL else rows)])
        lines += peaks(name, [(ROWS, number) for number in classes]) if name in LOSSES else []
    seconds = {}
    for size in dict.fromkeys((line["rows"], line["classes"]) for line in lines if not line["why_not"]):
        alike = [ln["loss"] for ln in lines if (ln["rows"], ln["classes"]) == size and not ln["why_not"]]
        times = measure.timed({name: prepared(name, *size) for name in alike}, rounds, patience=60)
        seconds |= {(name, *size): values for name, values in times.items()}
    for line in lines:
        values = seconds.get((line["loss"], line["rows"], line["classes"]))
        line |= measure.told(values) | {"rounds": len(values or ())}
    measure.tell("losses", lines, width=WIDTH, keys=KEYS)


def main(short: bool) -> None:
    run(**(SHORT if short else FULL))


if __name__ == "__main__":
    main(measure.short(__doc__))
