"""What every study does: its settings and its stages."""

from pathlib import Path

import pytest

from tests.training.experiments.studies.small import LAB
from training.experiments.studies import k_wise, over_optimisation, selection
from training.experiments.studies.study import Study
from training.run.config import ConfigError


def test_a_study_with_other_settings_is_not_mixed_with_one_that_is_there(tmp_path: Path) -> None:
    settings = {**LAB, "reward": {"batch_size": 4}}
    Study(k_wise.KWiseConfig.of(settings), tmp_path)
    with pytest.raises(ConfigError, match="holds a run with other settings"):
        Study(k_wise.KWiseConfig.of({**settings, "seeds": 5}), tmp_path)


def test_what_a_study_sets_itself_is_refused() -> None:
    with pytest.raises(ConfigError, match="the study itself sets seed and pairs_per_prompt"):
        k_wise.KWiseConfig.of({**LAB, "reward": {"seed": 3}})
    with pytest.raises(ConfigError, match=r"reward\.ensemble"):
        selection.SelectionConfig.of({**LAB, "reward": {}})
    with pytest.raises(ConfigError, match="fit_up_to: 64 must be below best_of, 32"):
        over_optimisation.OverOptimisationConfig.of({**LAB, "best_of": 32})
