"""The flow that removes what nobody needs any more; each home is pruned by one run at a time, beside all else."""

from datetime import timedelta
from typing import Annotated

from flows import progress
from flows.forms import Folder, NotNegative, at_least
from flows.runs import flow, show_table
from flows.runtime import open_home
from recsys.errors import SettingError
from recsys.store.retention import Retention, prune
from recsys.store.standing import KEEP, LEAST, MIN_AGE


@flow("prune", about={"home": ""})
def prune_home(
    home: Folder | None = None,
    keep: Annotated[int, at_least(LEAST)] = KEEP,
    dry_run: bool = False,
    min_age_hours: NotNegative = MIN_AGE / timedelta(hours=1),
) -> Retention:
    """Remove old generations and what stood on them alone; what is served, named, read or young stays.

    Args:
        home: the folder of all state; empty: RECSYS_HOME of whoever runs this.
        keep: how many of the newest generations stay, and how many of those served last, the current one counted; at
            least 2.
        dry_run: tell what would go, and change nothing.
        min_age_hours: what was made, or found again, within so many hours stays.

    Raises:
        SettingError: ``keep`` or ``min_age_hours`` is too small.
        ArtifactError: a file that says what is needed is broken; nothing is removed.
    """
    try:
        min_age = timedelta(hours=min_age_hours)
    except (OverflowError, ValueError):
        raise SettingError(f"{min_age_hours} hours are no age. Give a number of hours.") from None
    with progress.step("Look through the home" if dry_run else "Prune"):
        found = prune(open_home(home), keep, dry_run, min_age)
    would = "would go" if dry_run else "went"
    rows = [
        {"kind": one.kind, "name": one.name, "bytes": one.bytes, "": what, "why": one.why}
        for what, entries in ((would, found.goes), ("stays", found.stays))
        for one in entries
    ]
    show_table(rows, key="retention", description=f"{found.freed:,} bytes {would}, {found.kept:,} stay.")
    return found
