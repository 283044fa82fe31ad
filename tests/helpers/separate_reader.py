"""Reads files in a process of its own: a crash, a hang, or what memory it takes is seen from outside."""

import json
import re
import select
import subprocess
import sys
import traceback
from pathlib import Path

HANGS_S = 120
"""No file takes a twentieth of it, on a machine that does little else."""


class Reader:
    """Reads one file after another, each as its name's end says."""

    def __init__(self, *options):
        self._options, self._process = options, None

    def read(self, path):
        """What came of it: `value`, `error` with its lines, or `raised` with a traceback; and the growth of memory."""
        if self._process is None:
            command = [sys.executable, __file__, *self._options]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], HANGS_S)
        answer = self._process.stdout.readline() if ready else ""
        if not answer:
            if not ready:
                self._process.kill()
            ended, self._process = self._process.wait(), None
            raise AssertionError(f"{path}: {f'the process ended with {ended}' if ready else 'a hang'}")
        return json.loads(answer)

    def close(self):
        if self._process is not None:
            self._process.communicate("")
            self._process = None


def outcome(path):
    """Reads a file by everything that reads such a one."""
    from pagbench.cards import ModelCard
    from pagbench.errors import CardError, WeightsError
    from pagbench.storage import weights

    try:
        if path.suffix == ".yaml":
            card = ModelCard.read(path)
            json.dumps(card.model_dump(mode="json"), ensure_ascii=False).encode()
            return {"value": card.digest()}
        if path.suffix == ".safetensors":
            weights.shapes(path)
            weights.header(path)
        state = weights.read(path)
        return {"value": {name: [str(tensor.dtype), *tensor.shape] for name, tensor in state.items()}}
    except (CardError, WeightsError) as error:
        return {"error": str(error).splitlines()}
    except BaseException:
        return {"raised": traceback.format_exc()}


def agrees(path):
    """Whether PyTorch, where it reads a state dict too, reads the same; of a damaged archive it compares no sums."""
    import torch

    from pagbench.storage import weights

    try:
        theirs = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:
        return True
    ours = weights.read(path)
    if not isinstance(theirs, dict) or not all(isinstance(value, torch.Tensor) for value in theirs.values()):
        return False
    return list(ours) == list(theirs) and all(same(ours[name], theirs[name]) for name in ours)


def same(ours, theirs):
    import torch

    if (ours.dtype, ours.shape) != (theirs.dtype, theirs.shape):
        return False
    raw = [tensor.detach().contiguous().flatten().view(torch.uint8) for tensor in (ours, theirs)]
    return torch.equal(*raw)


def memory(field):
    """MiB in use, or at most in use since the use was last asked for; nothing where the system is not Linux."""
    if not Path("/proc/self/clear_refs").exists():
        return 0
    found = int(re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
    if field == "VmRSS":
        Path("/proc/self/clear_refs").write_text("5")  # what getrusage says is the parent's at the beginning
    return found


def main(options):
    if "python-yaml" in options:  # as where PyYAML was built without its C library
        import yaml

        yaml.__with_libyaml__ = False
    import pagbench.storage.weights  # noqa: F401 (its own memory is none of a file's)

    for line in sys.stdin:
        path = Path(line.removesuffix("\n"))
        before = memory("VmRSS")
        found = outcome(path)
        found["mebibytes"] = memory("VmHWM") - before
        if "compare" in options and "value" in found and path.suffix == ".pt" and path.stem != "archive":
            found["agrees"] = agrees(path)
        sys.stdout.write(f"{json.dumps(found)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
