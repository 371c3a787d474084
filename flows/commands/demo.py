"""`recsys demo`: the main job on MovieLens 100K."""

import time
from dataclasses import asdict
from pathlib import Path

from flows import progress
from flows.commands.tables import show_items, show_overview, show_report
from flows.commands.terminal import DebugOption, HomeOption, JsonOption, LogOption, shell
from flows.runtime import peak_memory
from recsys.artifacts import read_json


def demo(
    log_file: LogOption = None, home: HomeOption = None, as_json: JsonOption = False, debug: DebugOption = False
) -> None:
    """The main job on MovieLens 100K, from download to answers over HTTP."""
    with shell(home, as_json, debug, log_file) as session:
        started = time.monotonic()
        with progress.step("Start"):
            from flows.demo import demo_movielens

        done = demo_movielens(str(session.home.root))
        seconds, memory = round(time.monotonic() - started, 1), peak_memory()
        for user_id, answer in done.answers.items():
            show_items(session, user_id, answer)
        show_overview(session, read_json(Path(done.training.metrics)))
        show_report(session, done.training.generation)
        place = session.home.generations / done.training.generation
        session.show(
            f"Generation {place}\n{'Found done' if done.training.reused else 'Trained'}; "
            f"{seconds:.0f} s in all, at most {memory:,} MiB in one process.\n\n"
            f"Next: recsys recommend --user {next(iter(done.answers))} --explain · recsys serve · recsys generations"
        )
        session.result = {**asdict(done), "seconds": seconds, "peak_memory_mib": memory}
