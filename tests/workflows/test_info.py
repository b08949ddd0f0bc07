import subprocess
import sys

from unetkit.lookup import names
from unetkit.networks.encoders import ENCODERS
from unetkit.training.objective import OBJECTIVES
from unetkit.training.optimizer import OPTIMIZERS
from unetkit.workflows.info import InfoResult, ModelInfo, info


def test_tables_read_as_text_are_the_tables():
    found = info()
    assert isinstance(found, InfoResult)
    assert found.families["encoder"] == names("encoder", ENCODERS)
    assert found.families["objective"] == names("objective", OBJECTIVES)
    assert found.families["optimizer"] == names("optimizer", OPTIMIZERS)
    assert all(found.families.values())


def test_neither_list_nor_model_needs_torch(finished):
    code = f"import sys, unetkit as u; u.info(); u.info({str(finished)!r}); print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_a_model_is_described(finished):
    found = info(finished)
    assert isinstance(found, ModelInfo)
    assert found.plan.network.widths == (4, 8)
    assert found.parameters > 0
    assert found.facts["steps"] == "6"
    assert set(found.scores) == {"scratch", "particle", "stain", "mean"}
