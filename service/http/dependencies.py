"""What the way of a request through HTTP stands on, made once when the server starts."""

from dataclasses import dataclass, field

from service.http.recorder import Recorder
from service.load.admission import Admission
from service.load.lifecycle import Lifecycle
from service.rerank.prices import Prices
from service.rerank.request import Limits


@dataclass(frozen=True)
class Dependencies:
    """One server's own parts; None where the server was started without."""

    limits: Limits
    admission: Admission
    recorder: Recorder
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    prices: Prices | None = None
    # Seconds after which a stream that has nothing to say sends a comment: 1 where None, never where 0.
    keep_alive_s: float | None = None
