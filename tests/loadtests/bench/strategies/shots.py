"""Arms of the load test of the strategies, for tests."""

from loadtests.bench.strategies.summary import FULL, OPEN, Afterwards, Arm, LoadCalibration, MeasuredStrategies, Shot


def shot(gold: float, *, tokens: int = 100, latency_s: float = 1.0, sampled: int = 4) -> Shot:
    return Shot(latency_s, gold, 0.5, tokens, sampled, 25, "complete", gold, 25)


def arm(name: str, shots: list[Shot]) -> Arm:
    tokens = sum(one.tokens for one in shots)
    return Arm(name).grown(shots, tokens, tokens)


def measured(counted: int = 0) -> MeasuredStrategies:
    """Every question with its arms. counted: tokens that one arm's counters have, and its bill has not."""
    full, less = arm(FULL, [shot(1.0)] * 4), arm("prune", [shot(1.0, tokens=50)] * 4)
    late = arm("deadline", [shot(1.0)] * 3 + [Shot(0.3, 0.0)])
    return MeasuredStrategies(
        cut={FULL: full, "prune": less.grown([], counted, counted)},
        waves={"adaptive": arm("adaptive", [shot(1.0, sampled=3)] * 4)},
        fixed={1: arm("1", [shot(0.5, sampled=1)] * 4), 4: arm("4", [shot(1.0)] * 4)},
        loaded={OPEN: arm(OPEN, [shot(1.0)] * 4), "deadline": late},
        calibration=LoadCalibration(5.0, 3.0, 0.5, 1.0),
        left={OPEN: Afterwards(0, 0, 0.01), "deadline": Afterwards(0, 0, 0.01)},
    )
