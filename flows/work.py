"""What a flow asks of the machines: whose worker takes it, what it has to itself, and how long it may take."""

from dataclasses import dataclass

HOUR = 3600
COMMITTING = 2 * HOUR  # seconds for a generation: its vectors are there, and are written and indexed in minutes


@dataclass(frozen=True)
class Work:
    """A kind of work.

    Attributes:
        queue: of the work pool, by what a worker's machine must have.
        home: whether no other such run may be at work on the same home.
        gpu: whether it has a GPU to itself, where there is one.
        seconds: after which it is taken for stuck and ended. Whatever trains goes on from its checkpoint the next time.
    """

    queue: str
    home: bool
    gpu: bool
    seconds: int


TRAINING = Work("gpu", home=True, gpu=True, seconds=48 * HOUR)
READING = Work("cpu", home=True, gpu=False, seconds=12 * HOUR)
STEPS = Work("gpu", home=True, gpu=False, seconds=72 * HOUR)  # a flow of flows: those that train ask for the GPU
# Reads what is stored, and writes what no other run reads: it waits for no training, and keeps none waiting.
LISTS = Work("cpu", home=False, gpu=False, seconds=12 * HOUR)
# Moves the pointer, looks or cleans up, under locks of the home's own: it waits for no training of a night.
LIGHT = Work("light", home=False, gpu=False, seconds=HOUR)
