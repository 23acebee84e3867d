"""Best-of-N over vLLM as a library: reward models that score conversations, preference data, estimators.

    from bestofn_server import load_reward_model

    scorer = load_reward_model("arithmetic-reward")
    question = {"role": "user", "content": "What is 35+21+81?"}
    answers = ["35+21=56\\n56+81=137\\nAnswer: 137", "Answer: 12"]
    scores = scorer.score([[question, {"role": "assistant", "content": answer}] for answer in answers])

The names of `__all__` are the interface; what else can be imported may change with any version. A name is loaded when
it is first asked for, so that importing this package costs nothing. The command line is `bestofn_server.cli`.
"""

from typing import TYPE_CHECKING

from bestofn_server.rooms import claim

if TYPE_CHECKING:
    from bestofn_server.reward_models import load_reward_model
    from measuring.estimators import Interval, bootstrap, mean_interval, pass_at_k, wilson
    from reward.batch_scorer import BatchScorer
    from reward.bounds import kl_bound_nats, kl_bound_of_choice_nats, kl_bound_of_response_nats, win_rate_bound
    from reward.expected_best import best_of_n
    from reward.scorer import Score
    from training.data.read import DataError, hold_out, read_comparisons, read_demonstrations, read_prompts
    from training.data.records import Comparison, Demonstration

    __version__: str

__all__ = [
    "BatchScorer",
    "Comparison",
    "DataError",
    "Demonstration",
    "Interval",
    "Score",
    "best_of_n",
    "bootstrap",
    "hold_out",
    "kl_bound_nats",
    "kl_bound_of_choice_nats",
    "kl_bound_of_response_nats",
    "load_reward_model",
    "mean_interval",
    "pass_at_k",
    "read_comparisons",
    "read_demonstrations",
    "read_prompts",
    "wilson",
    "win_rate_bound",
]

claim()

if not TYPE_CHECKING:  # a checker would believe in every name
    _HOMES = {
        "bestofn_server.reward_models": ["load_reward_model"],
        "measuring.estimators": ["Interval", "bootstrap", "mean_interval", "pass_at_k", "wilson"],
        "reward.batch_scorer": ["BatchScorer"],
        "reward.bounds": ["kl_bound_nats", "kl_bound_of_choice_nats", "kl_bound_of_response_nats", "win_rate_bound"],
        "reward.expected_best": ["best_of_n"],
        "reward.scorer": ["Score"],
        "training.data.read": ["DataError", "hold_out", "read_comparisons", "read_demonstrations", "read_prompts"],
        "training.data.records": ["Comparison", "Demonstration"],
    }
    _HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

    def __getattr__(name):
        """PEP 562: a public name is loaded when it is asked for first."""
        if name == "__version__":
            from importlib.metadata import version

            return version("bestofn-server")
        if name not in _HOME_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(_HOME_OF[name]), name)
        return value

    def __dir__():
        return sorted({*globals(), *__all__, "__version__"})
