"""Where tensors are computed, in what precision, in how much memory, and by how many processes.

One process is the ordinary case. Under ``torchrun`` or ``accelerate launch`` each of several runs the same training on
its share of every batch, and gradients are summed: the result is that of one process with the whole batch.
"""

import os
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import distributed

from recsys.errors import TrainingError

ISA_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")  # of oneDNN, which multiplies for torch; the first one counts
ISA_WITHOUT_BF16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI")
Part = TypeVar("Part")


class OutOfMemoryError(TrainingError):
    """Not even the smallest batch fits into memory. The message says what was tried and what to change."""


def default_device() -> torch.device:
    """Return this process's GPU where there is one, else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def device_name() -> str:
    """Return the name of the GPU where there is one, else the processor's."""
    device = default_device()
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if "model name" in line), platform.machine())


def has_cpu_bf16() -> bool:
    """Tell whether this processor multiplies bf16 in hardware, and may; emulated bf16 is slower than fp32."""
    limit = next(filter(None, map(os.environ.get, ISA_LIMITS)), "")
    if limit.upper() in ISA_WITHOUT_BF16:
        return False
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def computes_bf16(device: torch.device) -> bool:
    """Tell whether a device multiplies bf16 in hardware."""
    return torch.cuda.is_bf16_supported() if device.type == "cuda" else has_cpu_bf16()


def autocast(device: torch.device) -> torch.autocast:
    """Return bf16 autocast where the device computes in bf16, else a context that changes nothing."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=computes_bf16(device))


def attention_for(device: torch.device) -> str:
    """Return the attention that trains fastest: on the CPU the fused kernel's backward takes most of a LoRA step."""
    return "sdpa" if device.type == "cuda" else "eager"


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory ran out: Python's, CUDA's, or that of torch's CPU allocator."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    words = ("not enough memory", "out of memory", "can't allocate memory", "failed to allocate", "bad_alloc")
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)


def fitting_memory(
    attempt: Callable[[int], None], size: int, least: int, doing: str, team: "Team | None" = None
) -> int:
    """Call ``attempt`` with a size, halved as often as memory runs out; return the size that fitted.

    Args:
        attempt: does the whole work in parts of at most the size it is given; it must be repeatable.
        size: to start with, in the attempt's own unit.
        least: below it nothing is tried.
        doing: what the attempt does, for the message.
        team: processes that attempt the same together: if memory runs out in one, all try again with half.

    Raises:
        OutOfMemoryError: the smallest size does not fit either.
    """
    while True:
        reason = ""
        try:
            attempt(size)
        except (RuntimeError, MemoryError) as error:
            if isinstance(error, OutOfMemoryError) or not is_out_of_memory(error):
                raise
            reason = str(error).partition("\n")[0] or type(error).__name__
        # Out of the except block: its traceback would keep the tensors of the failed attempt alive.
        if team is not None and team.size > 1:
            failed = team.sum(torch.tensor(float(bool(reason)), device=default_device()))
            reason = reason or ("memory ran out in another process" if bool(failed) else "")
        if not reason:
            return size
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if size // 2 < least:
            raise OutOfMemoryError(
                f"Memory ran out while {doing}, even in parts of {size}: {reason}. "
                "Free memory, use a smaller base model, or a machine with more."
            )
        size //= 2


@dataclass(frozen=True)
class Team:
    """The processes that train together, this one among them.

    Attributes:
        rank: of this process, from 0.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> "Team":
        """Return the team that ``team()`` has joined, or this process alone."""
        if distributed.is_available() and distributed.is_initialized():
            return cls(distributed.get_rank(), distributed.get_world_size())
        return cls()

    def share(self, parts: Iterable[Part]) -> list[Part]:
        """Return every ``size``-th part, from this process's own on."""
        return list(parts)[self.rank :: self.size]

    def sum_gradients(self, weights: Sequence[torch.Tensor]) -> None:
        """Replace the gradient of every weight by the sum over all processes, in one exchange."""
        if self.size == 1 or not weights:
            return
        gradients = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights]
        flat = torch.cat([gradient.flatten().float() for gradient in gradients])
        distributed.all_reduce(flat)
        start = 0
        for weight in weights:
            weight.grad = flat[start : start + weight.numel()].view_as(weight).to(weight.dtype)
            start += weight.numel()

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum of a tensor over all processes."""
        if self.size == 1:
            return values
        total = values.detach().clone()
        distributed.all_reduce(total)
        return total


@contextmanager
def team() -> Iterator[Team]:
    """Join the processes that ``torchrun`` or ``accelerate launch`` has started; alone without either.

    NCCL joins GPUs and gloo CPUs.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Team()
        return
    device = default_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Team.current()
    finally:
        distributed.destroy_process_group()
