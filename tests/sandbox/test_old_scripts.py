"""Scripts of the module's own time, in the image's libraries: what was removed from them is emulated."""

from __future__ import annotations

from tests.running import RunningServer

CROSS_VALIDATION = """
import numpy as np
import pandas as pd
from sklearn import grid_search
from sklearn.cross_validation import KFold, ShuffleSplit, StratifiedKFold, cross_val_score, train_test_split
from sklearn.externals import joblib
from sklearn.linear_model import LogisticRegression

def azureml_main():
    x, y = np.arange(40).reshape(20, 2), np.arange(20) % 2
    folds = KFold(20, n_folds=4, shuffle=True, random_state=1)
    scores = cross_val_score(LogisticRegression(), x, y, cv=StratifiedKFold(y, n_folds=5))
    splits = ShuffleSplit(20, n_iter=3, test_size=0.3, random_state=0)
    search = grid_search.GridSearchCV(LogisticRegression(), {'C': [0.1, 1]}, cv=splits).fit(x, y)
    joblib.dump(search, 'search.pkl')
    parts = train_test_split(x, random_state=0)
    return pd.DataFrame({
        'folds': [len(folds)], 'tested': [sum(len(test) for train, test in folds)], 'scores': [len(scores)],
        'best': [joblib.load('search.pkl').best_params_ == search.best_params_], 'train': [len(parts[0])],
    }),
"""

METRICS = """
import matplotlib
matplotlib.use('agg')
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from pandas.tools.plotting import scatter_matrix

def azureml_main(dataframe1=None, dataframe2=None):
    table = pd.DataFrame({'label': [1, 1, 0, 0, 1], 'scored': [1, 0, 0, 1, 1], 'p': [.9, .4, .1, .6, .8]})
    right = table.ix[table.ix[:, 0] == table.ix[:, 1], 'p']
    rows = pd.DataFrame(columns=['Metric', 'Value'])
    rows = rows.append({'Metric': 'accuracy', 'Value': np.float(len(right)) / len(table)}, ignore_index=True)
    rows = rows.append({'Metric': 'highest', 'Value': table.p.order(ascending=False).ix[4]}, ignore_index=True)
    scatter_matrix(table)
    plt.savefig('scatter.png')
    return rows,
"""


def test_scikit_learn_of_the_time(small_server: RunningServer) -> None:
    """7.13: cross validation, grid search and joblib from where they were, with the older folds."""
    run = small_server.submit(CROSS_VALIDATION)

    assert run["error"] is None
    answer = small_server.get(f"/v1/runs/{run['id']}/output", headers={"Accept": "application/json"})
    assert answer.json() == [{"folds": 4, "tested": 20, "scores": 5, "best": True, "train": 15}]
    assert [warning["code"] for warning in run["warnings"]] == ["removed_api"] * 3


def test_pandas_and_numpy_of_the_time(small_server: RunningServer) -> None:
    """7.13, V02, V09: positions and labels by .ix, rows by append, and a scatter matrix from its older place."""
    run = small_server.submit(METRICS)

    assert run["error"] is None
    answer = small_server.get(f"/v1/runs/{run['id']}/output", headers={"Accept": "application/json"})
    assert answer.json() == [{"Metric": "accuracy", "Value": 0.6}, {"Metric": "highest", "Value": 0.8}]
    assert [image["name"] for image in run["images"]] == ["scatter.png"]
    said = " ".join(warning["message"] for warning in run["warnings"] if warning["code"] == "removed_api")
    assert all(name in said for name in (".ix", ".append", ".order", "numpy.float", "pandas.tools.plotting"))


def test_s01_the_network_is_named(small_server: RunningServer) -> None:
    """S01: a script that asks the network is told that there is none."""
    for text in (
        "import urllib.request\nurllib.request.urlopen('http://example.com')\n",
        "import socket\nsocket.create_connection(('192.0.2.1', 80), 5)\n",
    ):
        run = small_server.submit(text)

        assert run["error"]["code"] == "0085"
        assert "there is no network in the sandbox" in run["error"]["message"]
