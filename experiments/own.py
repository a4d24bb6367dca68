"""What a corpus of your own is worth by itself, after a twin in another language, and distilled from that.

Three systems on one task: fine-tuned alone; fine-tuned on the twin first (multi-stage); and a student of the latter
that starts from the pretrained encoder (without a twin a born-again network, Furlanello et al. 2018, 1805.04770).
"""

from dataclasses import replace
from functools import partial

from experiments.mtkd import objective, taught
from experiments.multistage import chain
from experiments.scales import setting
from experiments.single import alone, of_sentences, pretrained
from rocl.data.corpus import Corpus
from rocl.data.task import Task
from rocl.experiment import Experiment, Scale


def compared(scale: Scale, corpus: Corpus, twin: Corpus | None, *, max_length: int, epochs: float) -> Experiment:
    task = Task(name="yours", corpus=corpus, max_length=max_length)
    start = of_sentences if setting(scale).grow else pretrained
    options = {"epochs": epochs, "model": partial(start, checkpoint=setting(scale).encoder)}
    single = teacher = alone(scale, task, **options)
    needs = {"alone": single}
    if twin:
        teacher = chain(scale, Task(name="twin", corpus=twin, max_length=max_length), task, **options)
        needs["after the twin"] = teacher
    tasks = partial(taught, tasks=[task], teachers={task.name: ["teacher"]})
    needs["student"] = replace(single, name="student", needs={"teacher": teacher}, tasks=tasks, objective=objective)
    return Experiment(name="own", needs=needs)
