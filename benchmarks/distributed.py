"""A training step that several processes share, beside one process: tokens a second, what the exchange takes of the
time, and how far the gradients are from those of one.

python -m benchmarks.distributed [--short]

The processes run on this machine, each with its part of the cores, or with a GPU of its own while there are enough.
The exchange is all the time in calls to the others, the wait for the slowest included. Rows judged together (supervised
contrast) are judged by every rank, all of them. Gradients are compared in float32, without dropout: the largest
difference, over the largest number.
"""

import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection

import numpy as np
import torch
import torch.distributed as dist

from benchmarks import made_up, measure, together
from rocl import ranks
from rocl.data.batches import Table
from rocl.experiment import Experiment
from rocl.models.encoder import Config
from rocl.models.heads import Model, first_tokens
from rocl.step import State, backward

FULL = {"config": made_up.MINILM, "worlds": (1, 2, 4), "rows": 64, "rounds": 10}
SHORT = {"config": made_up.SMALL, "worlds": (1, 2, 4), "rows": 32, "rounds": 5}
JUDGED = {
    "one by one": {"objective": made_up.objective},
    "together": {"objective": together.objective, "together": first_tokens},
}


def gradient(config: Config, experiment: Experiment, table: Table, pairs: np.ndarray) -> np.ndarray:
    """Of all weights, flat."""
    still = dict.fromkeys(("dropout", "attention_dropout", "output_dropout", "classifier_dropout"), 0.0)
    model = made_up.model(replace(config, **still), [table])
    model.precision = torch.float32
    scaler = torch.amp.GradScaler(model.device.type, enabled=False)
    backward(experiment, model, [table], pairs, 0, 0.5, {}, scaler, State())
    return together.gradient(model).cpu().numpy()


def measured(config: Config, judged: str, rows: int, rounds: int) -> tuple[dict[str, object], np.ndarray]:
    """What this rank measures in steps of so many rows, as columns of a table, and the gradient of one."""
    texts = made_up.packed(made_up.lengths("tweets", rows, config.positions), config.vocabulary)
    table = made_up.table("tweets", texts, 2)
    pairs = np.stack([np.zeros(rows, int), np.arange(rows)], 1)
    experiment = Experiment(name="distributed", tasks=[table.task], model=Model, steps=1, **JUDGED[judged])
    learn, call = made_up.learner(config, [table]), ranks._call
    calls, exchanges = [], []  # seconds of each call, and of all calls of each step

    def timed_call(*arguments, **options) -> None:
        begun = measure.clock()
        call(*arguments, **options)
        calls.append(measure.clock() - begun)

    def step() -> None:
        calls.clear()
        learn(experiment, [table], pairs)
        exchanges.append(sum(calls))

    ranks._call = timed_call
    seconds = measure.timed({judged: step}, rounds)[judged]
    ranks._call = call
    speed = {"tokens_per_second": len(texts.ids) / statistics.median(seconds)}
    speed |= {"exchange": sum(exchanges[1:]) / sum(seconds)}  # the first step does not count
    return measure.told(seconds) | speed, gradient(config, experiment, table, pairs)


def work(sender: Connection, place: Mapping[str, object], arguments: Sequence) -> None:
    """What a rank does; the first one sends what it measured."""
    os.environ.update({name: str(value) for name, value in place.items()})
    torch.set_num_threads(place["OMP_NUM_THREADS"])
    with ranks.joined():
        found = measured(*arguments)
        if ranks.rank() == 0:
            sender.send(found)


def shared(world: int, threads: int, arguments: Sequence) -> tuple[dict[str, object], np.ndarray]:
    """What so many ranks measure, started as torchrun would start them."""
    context, store = measure.server(), dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    place = {"WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world, "OMP_NUM_THREADS": threads}
    place |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": store.port, "TORCHELASTIC_USE_AGENT_STORE": True}
    receiver, sender = context.Pipe(duplex=False)
    places = [{**place, "RANK": rank, "LOCAL_RANK": rank} for rank in range(world)]
    processes = [context.Process(target=work, args=(sender, own, arguments)) for own in places]
    for process in processes:
        process.start()
    sender.close()  # so that an end without a word ends the waiting too
    try:
        return receiver.recv()
    finally:
        for process in processes:
            process.join()


def run(*, config: Config, worlds: Sequence[int], rows: int, rounds: int) -> None:
    results = []
    for judged in JUDGED:
        gradients = []
        for world in worlds:
            threads = max(1, os.cpu_count() // world)
            line, flat = shared(world, threads, (config, judged, rows, rounds))
            gradients.append(flat)
            off = float(np.abs(flat - gradients[0]).max() / np.abs(gradients[0]).max())
            results.append({"judged": judged, "ranks": world, "threads": threads, **line, "gradient_error": off})
    measure.tell("distributed", results, rows=rows, rounds=rounds, width=config.width, layers=config.layers)


def main(short: bool) -> None:
    run(**(SHORT if short else FULL))


if __name__ == "__main__":
    main(measure.short(__doc__))
