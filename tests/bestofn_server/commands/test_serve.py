from bestofn_server.commands.serve import bundled
from service.rerank.strategies.adaptive import AdaptiveOptions
from service.rerank.strategies.profile import StrategyProfile
from training.labs import model_path


def test_the_bundled_models_are_those_of_the_lab_arithmetic() -> None:
    found = bundled()
    assert found.served_name == "arithmetic"
    assert str(found.model) == model_path("arithmetic-sft")
    assert str(found.reward_model) == model_path("arithmetic-reward")
    profile = StrategyProfile.read(str(found.strategy_profile))
    adaptive = profile.complete(AdaptiveOptions())
    assert adaptive.price == 0.3
    assert adaptive.prior != AdaptiveOptions().prior
