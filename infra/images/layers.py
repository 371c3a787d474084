"""The layers of an image without Docker: each instruction's is an overlay over those before it, and RUN runs in there.

A layer is named by the hash of all that it is made of, so that one that is there is not made again.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from infra.images.dockerfile import IGNORE, ROOT, Instruction, Stage, environment, sent

PATH = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}  # as the base image has it


class Layers:
    """The layers of every stage that was asked for, below a folder.

    Args:
        stages: of a Dockerfile.
        base: a folder with what the base image holds.
        work: a folder, of a file system that overlays may lie on.
        lent: paths of this machine that RUN may read: what pip needs to find packages.
    """

    def __init__(self, stages: dict[str, Stage], base: Path, work: Path, lent: list[Path]) -> None:
        self.stages, self.base, self.work, self.lent = stages, base, work, lent
        self.made: dict[str, list[tuple[Instruction, Path]]] = {}
        for path in lent:  # places to bind them to, which are then in no layer
            place = base / path.relative_to("/")
            (place if path.is_dir() else place.parent).mkdir(parents=True, exist_ok=True)
            if not place.exists():
                place.touch()

    def build(self, name: str) -> None:
        """Build a stage, and those that it is made from, once.

        Raises:
            subprocess.CalledProcessError: a command failed; it has said why.
        """
        if name in self.made:
            return
        stage = self.stages[name]
        if stage.base in self.stages:
            self.build(stage.base)
        self.made[name] = list(self.made.get(stage.base, []))
        folder = "/"
        for one in stage.instructions:
            if one.name == "WORKDIR":
                folder = one.value
            if one.name not in ("RUN", "COPY", "WORKDIR"):
                continue
            copied = self._copied(one, folder) if one.name == "COPY" else []
            layer = self.work / self._digest(name, one, copied)
            if not layer.exists():
                unfinished = self.work / "unfinished"
                shutil.rmtree(unfinished, ignore_errors=True)
                unfinished.mkdir()
                if one.name == "RUN":
                    self._run(name, one.value, unfinished, folder)
                for target, source in copied:
                    (unfinished / target).parent.mkdir(parents=True, exist_ok=True)
                    if source.is_dir():
                        shutil.copytree(
                            source, unfinished / target, symlinks=True, copy_function=os.link, dirs_exist_ok=True
                        )
                    else:
                        shutil.copy2(source, unfinished / target)
                if one.name == "WORKDIR":
                    (unfinished / folder.strip("/")).mkdir(parents=True, exist_ok=True)
                unfinished.rename(layer)
            self.made[name].append((one, layer))

    def _digest(self, name: str, one: Instruction, copied: list[tuple[str, Path]]) -> str:
        before = [layer.name for _, layer in self.made[name]]
        content = [  # of another stage: its layer, which is named by what it is made of
            (target, hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else str(path))
            for target, path in copied
        ]
        variables = sorted(environment(self.stages, name, PATH).items())
        return hashlib.sha256(repr([before, one, content, variables]).encode()).hexdigest()[:16]

    def lower(self, name: str) -> str:
        """Return a stage's layers as overlayfs takes them: the newest first, the base last."""
        return ":".join([*(str(layer) for _, layer in reversed(self.made[name])), str(self.base)])

    def _run(self, name: str, command: str, layer: Path, folder: str) -> None:
        scratch = self.work / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        passed = {key: value for key, value in os.environ.items() if key.startswith("PIP_")}
        variables = environment(self.stages, name, PATH) | passed
        options = f"lowerdir={self.lower(name)},upperdir={layer},workdir={scratch}"
        within = mounted(options, {str(path): path for path in self.lent}, variables, folder, ["sh", "-ec", command])
        subprocess.run(["unshare", "--mount", "--pid", "--fork", "--kill-child", *within], check=True)

    def _copied(self, one: Instruction, folder: str) -> list[tuple[str, Path]]:
        """Return what a COPY brings: where it goes to, and where from."""
        stage, sources, target = one.copied()
        place = os.path.normpath(os.path.join(folder, target)).strip("/")
        if stage:
            self.build(stage)
            (source,) = sources
            found = [layer / source.strip("/") for _, layer in self.made[stage]]
            return [(place, path) for path in found if path.exists()]
        listed = subprocess.run(
            ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout.split()
        copied = []
        for path in sent(listed, IGNORE.read_text()):
            for source in sources:
                if path == source:
                    whole = target.endswith("/") or len(sources) > 1
                    copied.append((os.path.join(place, Path(path).name) if whole else place, ROOT / path))
                elif path.startswith(f"{source}/"):
                    copied.append((os.path.join(place, os.path.relpath(path, source)), ROOT / path))
        return copied


def mounted(
    options: str, bound: dict[str, Path], variables: dict[str, str], folder: str, command: list[str]
) -> list[str]:
    """Return a command that mounts an overlay, for itself alone, and becomes ``command`` in there.

    Args:
        options: of the overlay.
        bound: what of this machine is in there, by its path inside.
        variables: all that ``command`` has.
        folder: its working folder.
        command: what runs; its number is 1 where the namespace of processes is new.
    """
    root = tempfile.mkdtemp(prefix="recsys-root-")
    steps = [
        f"mount -t overlay overlay -o {options} {root}",
        *(f"mount --bind {source} {root}{target}" for target, source in bound.items()),
        f"mount -t proc proc {root}/proc",
        f"mount --rbind /dev {root}/dev",
        f"mount -t tmpfs -o mode=1777 tmpfs {root}/tmp",
        f'exec chroot {root} "$@"',
    ]
    given = [f"{name}={value}" for name, value in variables.items()]
    inside = ["/usr/bin/env", "-i", *given, "sh", "-c", f'cd {folder}; exec "$@"', "sh", *command]
    return ["sh", "-ec", "\n".join(steps), "sh", *inside]
