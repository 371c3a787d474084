"""What can go wrong, by what has happened. Each message says what, where, and what to do.

::

    RecsysError
    ├── ArtifactError        something stored is missing, changed or of another make
    │   ├── BaseModelError   another base is installed than an adapter was trained on or its package has
    │   └── ConflictError    another generation was served meanwhile than a decision rested on
    ├── DataError            what was given cannot be read, or nothing can be learnt from it
    │   ├── SourceError      a file is none, or lacks a column
    │   │   └── UnreachableError it lies elsewhere and cannot be had now
    │   ├── QualityError     too many rows were set aside
    │   └── FetchError       a data set cannot be had from where it lies
    ├── SettingError         a setting, or a name given to a command, is none that there is, or two exclude each other
    ├── RequestError         what was asked or put does not fit the catalogue
    │   ├── FilterError      a filter
    │   ├── LimitError       a limit
    │   ├── ItemError        an item
    │   └── EventError       an event
    ├── TrainingError        a training cannot go on; nothing of it is kept
    │   ├── DivergedError    its loss is no longer a number
    │   ├── OutOfMemoryError not even its smallest batch fits
    │   └── VectorError      a text has a vector that is zero or not finite
    ├── StoreError           an object store refuses; what was put and brought before stays
    │   ├── StoreAwayError   it does not answer now
    │   └── OvertakenError   somebody has replaced an object since it was read
    ├── ClusterError         a cluster cannot be reached, or its nodes are not made as who asks them
    ├── UnreadableError      LanceDB cannot read its index; answers do without
    └── RefusedError         the gate said no; what was served still is

Each stands beside what raises it, but for those that many raise, which stand here. Errors about data, settings and
requests are ``ValueError`` too, those of trainings ``RuntimeError``. A plain ``ValueError`` is a caller's mistake.
"""


class RecsysError(Exception):
    """Anything below. The message is for people.

    Attributes:
        passing: whether the same may work the next time, so that a flow tries it again.
    """

    passing = False


class DataError(RecsysError, ValueError):
    """What was given cannot be read, or nothing can be learnt from it. The message says what is missing."""


class SettingError(RecsysError, ValueError):
    """A setting or a name is none that there is, or two exclude each other. The message says what there is."""


class RequestError(RecsysError, ValueError):
    """What was asked or put does not fit the catalogue."""


class UntimedError(RequestError):
    """What was asked needs to know when events happened, and the snapshot does not know it of all."""


class ColumnError(RequestError):
    """A column of the catalogue does not exist, or does not hold what it is asked for. The message says what does."""


class TrainingError(RecsysError, RuntimeError):
    """A training cannot go on; nothing of it is kept. The message says what to change."""


class VectorError(TrainingError):
    """A text has a vector that is zero or not finite: the weights are broken. The message names it."""


class RefusedError(RecsysError):
    """The gate refused a generation; the one that was served still is.

    Attributes:
        generation_id: what was refused.
        findings: of the gate, one sentence a check.
        objections: those of the checks that it fails, which the message tells; empty: it tells all.
    """

    def __init__(self, generation_id: str, findings: tuple[str, ...], objections: tuple[str, ...] = ()) -> None:
        super().__init__(generation_id, findings, objections)
        self.generation_id = generation_id
        self.findings = findings
        self.objections = objections

    def __str__(self) -> str:
        said = " ".join(self.objections or self.findings)
        return (
            f"The gate refused generation {self.generation_id}. {said} Train a better one, or use force with a reason."
        )
