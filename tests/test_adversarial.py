"""Proves that reversal changes gradients and nothing else and that its ramp is the published one; that the stage that
uses it leaves less of the language in an encoder; and that the critic measures a distance."""

import random
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny import WORDS, checkpoint
from torch.testing import assert_close

from experiments import adversarial, encoders
from experiments.scales import PARTS, setting
from experiments.single import classifiers
from rocl import train
from rocl.data.corpus import Corpus, Row
from rocl.data.task import Task
from rocl.experiment import Scale, graph
from rocl.losses import clip, ramp, reverse, slope_penalty, wasserstein
from rocl.models.heads import first, outputs
from rocl.predict import Done
from rocl.probes import language_probe


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0, 2.5])
def test_reversal_leaves_values_and_turns_the_gradient_before_it_but_not_behind_it(strength):
    torch.manual_seed(0)
    x, weight = torch.randn(4, 3, requires_grad=True), torch.randn(3, 2, requires_grad=True)
    plain = torch.autograd.grad((x @ weight).square().sum(), (x, weight))
    turned = reverse(x, strength)
    assert torch.equal(turned, x)
    gradients = torch.autograd.grad((turned @ weight).square().sum(), (x, weight))
    assert_close(gradients[0], -strength * plain[0])
    assert_close(gradients[1], plain[1])


@pytest.mark.parametrize(
    "progress, strength",
    [(0, 0.0), (0.05, 0.2449186624), (0.1, 0.4621171573), (0.25, 0.84828364), (0.5, 0.9866142982), (1, 0.9999092043)],
)
def test_the_ramp_is_the_published_one(progress, strength):
    assert_close(ramp(progress), strength, rtol=1e-8, atol=1e-12)


def test_the_critics_distance_is_the_difference_of_the_means():
    said, inside = torch.tensor([1.0, 2.0, 6.0, 10.0]), torch.tensor([1, 0, 1, 0])
    assert wasserstein(said, inside).item() == 3.5 - 6
    assert wasserstein(said, torch.ones(4)).item() == 0 == wasserstein(said, torch.zeros(4)).item()


def test_a_clipped_critic_finds_the_distance_between_two_heaps():
    """The largest mean difference of a line whose slope is at most 0.01 is 0.01 times the distance of the means."""
    torch.manual_seed(0)
    x = torch.cat([torch.randn(200, 1) + 5, torch.randn(200, 1)])
    inside = torch.arange(400) < 200
    critic = torch.nn.Linear(1, 1)
    adam = torch.optim.Adam(critic.parameters(), 1e-3)
    for _ in range(60):
        adam.zero_grad()
        (-wasserstein(critic(x).squeeze(1), inside)).backward()
        adam.step()
        clip(critic)
    found = wasserstein(critic(x).squeeze(1), inside).item()
    assert_close(found, 0.01 * (x[:200].mean() - x[200:].mean()).item(), rtol=1e-4, atol=0)
    assert max(p.abs().max().item() for p in critic.parameters()) <= 0.01 + 1e-8


@pytest.mark.parametrize("german", [0, 3, 8])
def test_the_penalised_critic_is_judged_on_pairs_of_pooled_vectors_of_the_two_languages(german):
    torch.manual_seed(0)
    critic = torch.nn.Linear(2, 1)
    critic.pool, critic.on = (lambda encoded: encoded), critic.forward
    model, inside = SimpleNamespace(heads={"critic": critic}), (torch.arange(8) < german).float()
    vectors = torch.randn(8, 2)
    batch = SimpleNamespace(columns={"language": torch.stack([inside, 1 - inside], 1)})
    slope = (critic.weight.norm() - 1).square() if 0 < german < 8 else torch.zeros(())
    expected = 10 * slope - wasserstein(critic(vectors).squeeze(1), inside)
    assert_close(adversarial.farther_within_slope(model, [(batch, vectors)], 0.0), expected)


def test_the_slope_penalty_of_a_line_is_known():
    weight = torch.tensor([3.0, 4.0], requires_grad=True)
    one, other = torch.randn(6, 2), torch.randn(6, 2)
    penalty = slope_penalty(lambda v: v @ weight, one, other, torch.rand(6, 1))
    assert_close(penalty.item(), 16.0)  # (5 - 1)^2
    penalty.backward()
    assert_close(weight.grad, 8 * torch.tensor([0.6, 0.8]))  # 2 (5 - 1) times the direction of the weight


def of_language(language: str, words: list[str]) -> Task:
    """Texts of two common words and one of these, which is the language's for a label."""

    def read(paths) -> dict[str, list[Row]]:
        draw, splits = random.Random(language), {}
        for split, count in (("train", 400), ("dev", 100), ("test", 100)):
            splits[split] = []
            for number in range(count):
                label = draw.randrange(3)
                text = draw.choices(WORDS[6:], k=2) + [words[label]]
                draw.shuffle(text)
                splits[split].append(Row(f"{split}-{number}", (" ".join(text),), ("abc"[label],)))
        return splits

    corpus = Corpus(name=f"tiny-{language}", language=language, labels=tuple("abc"), kind="one", licence="", read=read)
    return Task(name=f"tiny-{language}", corpus=corpus, max_length=16)


def fresh(tasks, done, *, start):
    torch.manual_seed(0)
    return classifiers(start.fresh(), tasks)


def told_apart(tmp_path: Path, monkeypatch, **changes) -> tuple[float, float]:
    """Of the stage with these changes: how well a fresh probe tells the languages apart, and English macro-F1."""
    en, ro = of_language("en", WORDS[:3]), of_language("ro", WORDS[3:6])
    base = replace(setting(Scale.SAMPLE), romanian={PARTS[0]: ro}, english={PARTS[0]: en})
    monkeypatch.setattr(adversarial, "setting", lambda scale: base)
    start = partial(fresh, start=checkpoint(tmp_path / "start"))
    model = partial(adversarial.with_language, start=start)
    values = dict(model=model, learning_rate=2e-3, epochs=12, evaluations=1) | changes
    stage = adversarial.english(Scale.SAMPLE, PARTS[0], "stage", **values)
    (node,) = graph(stage, Scale.SAMPLE, 1, tmp_path / "runs", Path(__file__))
    train.train(node, {})
    done = Done(node, {})
    learned = encoders.Frozen(done.encoder())
    fit, held = ([outputs(learned, learned.table(task, s), first) for task in (en, ro)] for s in ("train", "dev"))
    return language_probe(fit, held), done.record["best"]["score"]


def test_reversal_leaves_less_of_the_language_and_no_less_of_the_labels(tmp_path, monkeypatch):
    """Of a sign that is wrong nothing is left: with it the encoder learns to tell the languages apart."""
    unasked = {"objective": partial(adversarial.misled, weight=0.0), "inner": None}
    turned = {"objective": partial(adversarial.misled, reversal=-adversarial.REVERSAL)}
    without, wrong = (told_apart(tmp_path, monkeypatch, **changes) for changes in (unasked, turned))
    probe, score = told_apart(tmp_path, monkeypatch)
    assert probe < 0.95 < 0.99 <= min(without[0], wrong[0])
    assert score == without[1] == 1


def test_a_step_without_rows_of_a_known_language_changes_nothing_but_costs_no_run():
    model = SimpleNamespace(heads={"language": torch.nn.Linear(2, 2)})
    loss = adversarial.guessed(model, [(SimpleNamespace(columns={}), None)], 0.5)
    loss.backward()
    assert loss.item() == 0 and not any(p.grad.any() for p in model.heads["language"].parameters())
