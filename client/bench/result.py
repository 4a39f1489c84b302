"""One measurement as it is told: sides, the comparison, and whether its target was reached."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from icehouse.client.bench.harness import Spread, Timing, ratios
from icehouse.client.bench.targets import Limit, Target

OURS = "icehouse"
Verdict = Literal["aim", "must", "missed", ""]


@dataclass
class Result:
    """What one case gave on one corpus."""

    case: str
    corpus: str
    unit: Literal["seconds", "bytes"]
    sides: dict[str, Spread]
    # Ours divided by each other side's, round by round.
    ratios: dict[str, Spread] = field(default_factory=dict)
    target: Target | None = None
    note: str = ""

    @classmethod
    def timed(
        cls,
        case: str,
        corpus: str,
        timings: Sequence[Timing],
        target: Target | None = None,
        note: str = "",
    ) -> "Result":
        """From the timings of all sides."""
        ours = next((timing for timing in timings if timing.name == OURS), None)
        others = [timing for timing in timings if timing is not ours]
        compared = {other.name: ratios(ours, other) for other in others} if ours else {}
        sides = {timing.name: timing.spread for timing in timings}
        return cls(case, corpus, "seconds", sides, compared, target, note)

    @classmethod
    def counted(
        cls,
        case: str,
        corpus: str,
        amounts: Mapping[str, Sequence[float]],
        target: Target | None = None,
        note: str = "",
    ) -> "Result":
        """From bytes; of several readings the median counts."""
        sides = {name: Spread.of(list(values)) for name, values in amounts.items()}
        ours = sides.get(OURS)
        compared = {
            name: Spread.of([ours.median / spread.median])
            for name, spread in sides.items()
            if ours and name != OURS and spread.median
        }
        return cls(case, corpus, "bytes", sides, compared, target, note)

    @classmethod
    def amount(
        cls, case: str, corpus: str, seconds: float, target: Target | None = None, note: str = ""
    ) -> "Result":
        """From one reading of our own seconds, of something that is too long to be repeated."""
        sides = {OURS: Spread.of([seconds])}
        return cls(case, corpus, "seconds", sides, {}, target, note)

    def reached(self, limit: Limit) -> bool | None:
        """Whether a bound holds; None if the side to compare with was not measured."""
        if self.target is None or OURS not in self.sides:
            return None
        if self.target.measure != "ratio":
            return self.sides[OURS].median <= limit.value
        if limit.against not in self.ratios:
            return None
        return self.ratios[limit.against].median <= limit.value

    @property
    def verdict(self) -> Verdict:
        """The best that was reached; empty where there is no target or no comparison."""
        if self.target is None or self.reached(self.target.must) is None:
            return ""
        if not self.reached(self.target.must):
            return "missed"
        return "aim" if self.reached(self.target.aim) else "must"

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        told: dict[str, Any] = {
            "case": self.case,
            "corpus": self.corpus,
            "unit": self.unit,
            "sides": {name: asdict(spread) for name, spread in self.sides.items()},
            "ratios": {name: asdict(spread) for name, spread in self.ratios.items()},
            "verdict": self.verdict,
            "note": self.note,
        }
        if self.target:
            told["target"] = {
                "measure": self.target.measure,
                "must": asdict(self.target.must),
                "aim": asdict(self.target.aim),
            }
        return told
