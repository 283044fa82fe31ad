"""Who does the units of a run: this process, several on this machine, or a Ray cluster."""

from pagbench.errors import ContractError
from pagbench.running.executors.contract import Executor, Outcome
from pagbench.running.executors.here import SerialExecutor
from pagbench.running.executors.processes import ProcessExecutor
from pagbench.running.executors.ray_cluster import RayExecutor
from pagbench.running.workers import cores

__all__ = ["Executor", "Here", "Outcome", "Processes", "RayExecutor", "find"]


def find(name: str, *, gpus_per_task: float = 1.0) -> Executor:
    """The executor that a user names: `local`, `local:J`, `ray` or `ray:ADDRESS`.

    Args:
        name: the user's word.
        gpus_per_task: share of a GPU that each unit asks a Ray cluster for, where the device is one.

    Raises:
        ContractError: neither of them, or a number that is out of range.
    """
    kind, _, argument = name.partition(":")
    if not 0 < gpus_per_task <= 1024:
        raise ContractError(f"GPUs per task {gpus_per_task:g} is out of range; expected above 0, as 0.5 or 1")
    if kind == "ray":
        return RayExecutor(argument or None, gpus_per_task)
    if kind != "local":
        raise ContractError(f"executor {name!r}; expected local, local:J, ray or ray:ADDRESS")
    return ProcessExecutor(_jobs(argument)) if argument else SerialExecutor()


def _jobs(text: str) -> int:
    most = 4 * cores()
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise ContractError(f"executor local:{text} has no such number of workers; expected local:1 to local:{most}")
    return int(text)
