"""Proves that reversal changes gradients and nothing else and that its ramp is the published one; that the stage that
uses it leaves less of the language in an encoder; and that the critic measures a distance."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from experiments import adversarial
from rocl.losses import classify, clip, ramp, reverse, slope_penalty, wasserstein
from rocl.models.heads import Encoded
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


def model_of_vectors() -> SimpleNamespace:
    """An encoder of eight numbers a row, a head for three labels and one for the language."""
    two_layers = [torch.nn.Linear(8, 16), torch.nn.GELU(), torch.nn.Linear(16, 8)]
    encoder, head = torch.nn.Sequential(*two_layers), torch.nn.Linear(8, 3)
    discriminator = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.GELU(), torch.nn.Linear(16, 2))
    heads = {"en": lambda encoded: head(encoded.tokens), "language": lambda encoded: discriminator(encoded.tokens)}
    return SimpleNamespace(encoder=encoder, head=head, discriminator=discriminator, heads=heads)


def rows(count: int, language: int) -> tuple[torch.Tensor, SimpleNamespace]:
    """Numbers of which three tell the label and one the language, under noise; Romanian rows have no task."""
    gold = torch.randint(3, (count,))
    x = torch.randn(count, 8) / 2
    x[:, :3] += 2 * torch.nn.functional.one_hot(gold, 3)
    x[:, 3] += 4 * language - 2
    columns = {"language": torch.eye(2)[[language] * count], "labels": torch.nn.functional.one_hot(gold, 3).float()}
    return x, SimpleNamespace(task=("en", "ro-text")[language], kind="one", columns=columns)


def encoded(model, x: torch.Tensor) -> Encoded:
    return Encoded(model.encoder(x), None, None, None)


def loss_of(model, pieces, objective) -> torch.Tensor:
    """The mean over all rows, halfway through, when the strength is .987 of what it ends with."""
    found = [objective(model, encoded(model, x), batch, 0.5) for x, batch in pieces]
    return sum(term.sum() for terms in found for term in terms.values()) / sum(len(x) for x, _ in pieces)


def learned(seed: int, objective) -> tuple[float, float]:
    """After 300 steps how well a fresh probe tells the languages, and the share of labels that are right."""
    torch.manual_seed(seed)
    model = model_of_vectors()
    inner = torch.optim.Adam(model.discriminator.parameters(), 5e-3)
    outer = torch.optim.Adam([*model.encoder.parameters(), *model.head.parameters()], 3e-3)
    for _ in range(300):
        pieces = [rows(16, 0), rows(16, 1)]
        with torch.no_grad():
            seen = [(batch, encoded(model, x)) for x, batch in pieces]
        for _ in range(adversarial.five(0.5)):
            inner.zero_grad()
            adversarial.guessed(model, seen, 0.5).backward()
            inner.step()
        outer.zero_grad()
        loss_of(model, pieces, objective).backward()
        outer.step()
    with torch.no_grad():
        fit, held = ([rows(500, language) for language in (0, 1)] for _ in range(2))
        right = model.head(model.encoder(held[0][0])).argmax(1) == held[0][1].columns["labels"].argmax(1)
        fit, held = ([model.encoder(x).numpy() for x, _ in side] for side in (fit, held))
    return language_probe(fit, held), right.float().mean().item()


def test_the_encoder_follows_the_labels_and_goes_against_the_language_by_the_strength():
    torch.manual_seed(0)
    model, pieces = model_of_vectors(), [rows(16, 0), rows(16, 1)]

    def of_language(model, encoded, batch, progress):
        return {"language": classify(model.heads["language"](encoded), batch.columns["language"], kind="one")}

    def of_labels(model, encoded, batch, progress):
        return adversarial.labels(model, encoded, batch)

    def gradient(objective) -> torch.Tensor:
        parameters = list(model.encoder.parameters())
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss_of(model, pieces, objective), parameters)])

    labels, language = gradient(of_labels), gradient(of_language)
    for strength in (0.1, 1.0, -0.5):
        found = gradient(partial(adversarial.misled, weight=2.0, reversal=strength))
        assert_close(found, labels - 2 * strength * ramp(0.5) * language)
    assert_close(gradient(partial(adversarial.misled, weight=0.0)), labels)


def test_reversal_leaves_less_of_the_language_and_no_less_of_the_labels():
    """With the sign flipped the languages can be told apart better than before."""
    objectives = [partial(adversarial.misled, reversal=strength) for strength in (0.3, -0.3)]
    objectives += [partial(adversarial.misled, weight=0.0)]
    found = [[learned(seed, objective) for seed in range(4)] for objective in objectives]
    (on, right), (flipped, _), (off, best) = (map(np.mean, zip(*each, strict=True)) for each in found)
    assert on < off - 0.1 and flipped > off and right > best - 0.02


def test_a_step_without_rows_whose_language_is_asked_for_says_nothing():
    model = SimpleNamespace(heads={"language": torch.nn.Linear(2, 2)})
    assert adversarial.guessed(model, [(SimpleNamespace(columns={}), None)], 0.5) is None
