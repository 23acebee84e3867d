"""What strategies declare of their knobs."""

from service.rerank.strategies import STRATEGIES, Terms
from service.rerank.strategies.adaptive import Adaptive, AdaptiveOptions
from service.rerank.strategies.best_of_n import BestOfN, BestOfNOptions
from service.rerank.strategies.prior import NORMAL_KINDS
from service.rerank.strategies.prune import Prune, PruneOptions


def test_a_profile_may_set_what_a_request_may_not() -> None:
    assert AdaptiveOptions.knobs() == ("wave", "price")
    assert AdaptiveOptions.profiled() == ("wave", "price", "prior")


def test_the_server_and_no_profile_sets_where_best_of_n_scores() -> None:
    assert BestOfNOptions.profiled() == ()
    assert BestOfNOptions().make(Terms(4, prefix_score_tokens=32)) == BestOfN(4, 32)
    assert BestOfNOptions(checkpoint_tokens=8).make(Terms(4, prefix_score_tokens=32)) == BestOfN(4, 8)


def test_what_a_request_returns_bounds_what_is_sampled_and_kept() -> None:
    assert AdaptiveOptions(wave=2).make(Terms(8, n=3)) == Adaptive(8, 3, 0.1, NORMAL_KINDS, 3)
    assert PruneOptions().make(Terms(8, n=3)) == Prune(8, 16, (0.5,), 3, live=False)
    assert PruneOptions().make(Terms(8, may_commit=True)) == Prune(8, 16, (0.5,))


def test_a_strategy_has_the_name_by_which_it_is_asked_for() -> None:
    assert [kind().make(Terms(4)).name for kind in STRATEGIES] == [kind.name for kind in STRATEGIES]


def test_only_pruning_decides_by_prefixes() -> None:
    assert [kind.name for kind in STRATEGIES if kind.reads_prefixes] == ["prune"]
