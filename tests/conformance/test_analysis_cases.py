"""A whole analysis, from the data to the table that its author wanted (case A01)."""

from __future__ import annotations

from pathlib import Path

import pytest
from module_runs import run_module

from tests.running import RunningServer

PIMA = Path(__file__).parents[1] / "data" / "pima.csv"
IMPORTANCES = """
    import pandas as pd
    from sklearn.ensemble import ExtraTreesClassifier

    def azureml_main(dataframe1):
        assert dataframe1.shape == (768, 9)
        assert dataframe1["class"].value_counts().to_dict() == {0: 500, 1: 268}
        features, target = dataframe1.iloc[:, :8], dataframe1["class"]
        forest = ExtraTreesClassifier(n_estimators=250, random_state=0).fit(features, target)
        table = pd.DataFrame({"feature": features.columns, "score": forest.feature_importances_})
        return table.sort_values("score", ascending=False),
"""


def test_a01_the_importance_of_features(server: RunningServer) -> None:
    """Extra trees on the Pima data: which of the eight features matter, in their known order and measure."""

    module = run_module(server, IMPORTANCES, ("pima.csv", PIMA.read_bytes()))

    assert (module.run["status"], module.run["warnings"]) == ("succeeded", []), module.run
    table = module.table()
    assert [(field.name, str(field.type)) for field in table.schema] == [("feature", "string"), ("score", "double")]
    features, scores = table["feature"].to_pylist(), table["score"].to_pylist()
    assert sum(scores) == pytest.approx(1)
    assert scores == sorted(scores, reverse=True)
    assert (features[0], set(features[1:3])) == ("plas", {"age", "mass"})
    assert features[3:] == ["pedi", "preg", "pres", "skin", "insulin"]
    expected = [0.2335, 0.143, 0.1415, 0.118, 0.109, 0.099, 0.079, 0.075]
    assert scores == pytest.approx(expected, abs=0.005)
