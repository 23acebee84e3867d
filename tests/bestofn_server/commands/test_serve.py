from bestofn_server.commands.serve import bundled
from service.rerank.strategies.profile import DEFAULTS, StrategyProfile
from training.labs import model_path


def test_the_bundled_models_are_those_of_the_lab_arithmetic() -> None:
    found = bundled()
    assert found.served_name == "arithmetic"
    assert str(found.model) == model_path("arithmetic-sft")
    assert str(found.reward_model) == model_path("arithmetic-reward")
    profile = StrategyProfile.read(str(found.strategy_profile))
    assert profile.price == 0.3
    assert profile.prior != DEFAULTS.prior
