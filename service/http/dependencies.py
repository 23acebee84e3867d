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
    stream_comments_s: float = 0.0  # a stream that has had nothing to say for so long sends a comment; never where 0
