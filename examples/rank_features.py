"""Rank a table's columns by how much they help to tell the classes in its column `target` apart."""

import pandas as pd
from sklearn.ensemble import ExtraTreesClassifier


def azureml_main(dataframe1, dataframe2=None):
    """Takes a table of numbers with a `target`; returns feature and importance, the most important first."""
    features = dataframe1.drop(columns="target")
    forest = ExtraTreesClassifier(n_estimators=250, random_state=0)
    forest.fit(features, dataframe1["target"])

    ranking = pd.DataFrame({"feature": features.columns, "importance": forest.feature_importances_})
    ranking = ranking.sort_values("importance", ascending=False)
    print(f"{len(features)} rows; the best of {len(ranking)} features is {ranking['feature'].iloc[0]!r}")
    return ranking
