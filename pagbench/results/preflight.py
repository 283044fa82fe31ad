"""The pre-flight card: what was tried on a model before anything of it was measured. No torch."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from pagbench.errors import ContractError
from pagbench.results.plain import as_line

_LONGEST_TEXT = 500
Text = Annotated[str, BeforeValidator(lambda text: as_line(text, _LONGEST_TEXT) if isinstance(text, str) else text)]
"""A line: what a network or its code has said may be none, and without end."""
Verdict = Literal["pass", "flag", "fail", "unknown"]

_COSTS_THE_RANK = (
    "accuracy", "batch", "classes", "layout", "membership", "output", "precision", "range", "training_accuracy",
)  # fmt: skip


class Check(BaseModel):
    """One thing that was tried.

    A failed check refuses the model, a flag marks its results, and what is unknown could not be tried.
    """

    model_config = ConfigDict(frozen=True)

    name: Text
    verdict: Verdict
    found: Text
    expected: Text = ""
    """Empty where anything is as good, or where `found` says it."""
    advice: Text = ""
    """What to do; for checks that are not passed."""
    kind: Literal["kinks", "foreign", "few"] | None = None
    """What others must know of: `kinks`, that autograd and differences disagree at the images but not beside them;
    `foreign`, that they disagree on most images; `few`, that an accuracy at chance means nothing on so few images."""

    def sentence(self) -> str:
        """What was found and expected, and what to do, in one line."""
        expected = f", expected {self.expected}" if self.expected else ""
        return f"{self.found}{expected}" + (f"; {self.advice}" if self.advice else "")


class Preflight(BaseModel):
    """All checks of one model on one benchmark, in the order in which they were made."""

    model_config = ConfigDict(frozen=True)

    checks: Annotated[tuple[Check, ...], Field(max_length=30)]
    images: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    """How many images were shown; None in older results, which were shown all that a check takes."""

    @property
    def flags(self) -> tuple[Check, ...]:
        """The checks that are flagged."""
        return tuple(check for check in self.checks if check.verdict == "flag")

    @property
    def verdict(self) -> Literal["pass", "flag", "fail"]:
        """The worst of all checks; what is unknown does not count."""
        verdicts = {check.verdict for check in self.checks}
        return "fail" if "fail" in verdicts else "flag" if "flag" in verdicts else "pass"

    @property
    def has_kinks(self) -> bool:
        """Whether the network has kinks at the images themselves, where no difference can tell its gradient."""
        return any(check.kind == "kinks" for check in self.checks)

    @property
    def costs_the_rank(self) -> bool:
        """Whether a flag says that rows are of another network, of more than its images, or no gradient of its own."""
        return any(check.name in _COSTS_THE_RANK or check.kind == "foreign" for check in self.flags)

    def summary(self) -> str:
        """`ok`, or every flag with what was found.

        >>> checks = [Check(name="batch", verdict="flag", found="differs by 0.4", expected="at most 0.001")]
        >>> Preflight(checks=checks).summary()
        'batch: differs by 0.4, expected at most 0.001'
        """
        marked = [check for check in self.checks if check.verdict in ("flag", "fail")]
        plain = [check.model_copy(update={"advice": ""}) for check in marked]
        return "; ".join(f"{check.name}: {check.sentence()}" for check in plain) or "ok"


class Refusal(ContractError):
    """A model that fails a check; `preflight` has those made until then."""

    def __init__(self, model: str, preflight: Preflight) -> None:
        failed = next(check for check in preflight.checks if check.verdict == "fail")
        super().__init__(f"{model}: {failed.sentence()}")
        self.preflight = preflight
