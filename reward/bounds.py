"""What drawing n candidates and keeping the best can do at most: closed forms, used to report and to plot."""

import math


def kl_bound_nats(n: int) -> float:
    """log n - (n-1)/n: an upper bound, in nats, on KL(best-of-n || base) (Beirami et al. 2024, theorem 3.1).

    Raises ValueError for n < 1.
    """
    if n < 1:
        raise ValueError(f"kl_bound_nats needs n >= 1, got {n}")
    return math.log(n) - (n - 1) / n


def kl_bound_of_choice_nats(n: int) -> float:
    """log n: an upper bound, in nats, on the KL to the base of whatever is chosen among at most n draws, by any rule.

    The chosen answer has at most n times its probability under the base. Raises ValueError for n < 1.
    """
    if n < 1:
        raise ValueError(f"kl_bound_of_choice_nats needs n >= 1, got {n}")
    return math.log(n)


def kl_bound_of_response_nats(n: int, probability: float) -> float:
    """The tighter bound of Beirami et al. 2024 (section 3), where the base gives the selected response `probability`.

    (1-p)^n [log n + (n-1) log(1-p) - (n-1)/n] + (1 - (1-p)^n) log[(1 - (1-p)^n) / p], in nats; its mean over prompts
    bounds KL(best-of-n || base). For p -> 0 it is `kl_bound_nats`, for p = 1 it is 0. Raises ValueError unless n >= 1
    and 0 < probability <= 1.
    """
    if not 0 < probability <= 1:
        raise ValueError(f"kl_bound_of_response_nats needs 0 < probability <= 1, got {probability}")
    general = kl_bound_nats(n)
    if probability == 1:
        return 0.0
    log_missed = n * math.log1p(-probability)  # of the event that none of n draws is this response
    drawn = -math.expm1(log_missed)
    others = math.exp(log_missed) * (general + (n - 1) * math.log1p(-probability))
    return others + drawn * (math.log(drawn) - math.log(probability))


def win_rate_bound(n: int) -> float:
    """n / (n+1): no best-of-n wins more often than this against one draw of the same base, ties counted as half.

    It is reached where the reward ranks as the judge does and never ties. Raises ValueError for n < 1.
    """
    if n < 1:
        raise ValueError(f"win_rate_bound needs n >= 1, got {n}")
    return n / (n + 1)
