"""What a script draws: saved, captured, found and refused images (rules 6.1, 6.5 to 6.7, cases V)."""

from __future__ import annotations

import pyarrow as pa
import pytest
from module_images import MAKE_PNG, png, size_of
from module_runs import D1, EMPTY, fails, gives, run_module, warned, zipped

from tests.running import RunningServer


@pytest.fixture(scope="module")
def iris(server: RunningServer) -> pa.Table:
    """The iris data: four measurements of 150 flowers, and their species."""
    script = """
        from sklearn.datasets import load_iris
        def azureml_main():
            data = load_iris(as_frame=True)
            return data.frame,
    """
    table = run_module(server, script).table()
    assert (table.num_rows, table.num_columns) == (150, 5)
    return table


MATRIX = """
    import matplotlib
    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    from {module} import scatter_matrix
    def azureml_main(dataframe1):
        figure = plt.figure(figsize=(8, 6))
        axes = figure.gca()
        scatter_matrix(dataframe1.iloc[:, 0:4], ax=axes)
        figure.savefig("scatter.png")
        return dataframe1,
"""


def test_v01_a_scatter_matrix(server: RunningServer, iris: pa.Table) -> None:
    """A figure that is saved is an image; what pandas warns of is in stderr; the table comes through."""

    module = run_module(server, MATRIX.format(module="pandas.plotting"), iris)

    gives(module, iris)
    images = module.images()
    assert {name: size_of(image) for name, image in images.items()} == {"scatter.png": (800, 600)}
    assert len(images["scatter.png"]) > 10_000
    assert "being cleared" in module.log(stream="stderr")
    assert "being cleared" not in module.log(stream="stdout")


def test_v02_the_old_place_of_scatter_matrix(server: RunningServer, iris: pa.Table) -> None:
    """`pandas.tools.plotting` is gone; the import works all the same, with a warning."""

    module = run_module(server, MATRIX.format(module="pandas.tools.plotting"), iris)

    gives(module, iris, removed_api="pandas.tools.plotting")
    assert {name: size_of(image) for name, image in module.images().items()} == {"scatter.png": (800, 600)}


OPEN_FIGURE = """
    import matplotlib.pyplot as plt
    def azureml_main(df):
        df.plot(x="a", y="b")
        return df,
"""


def test_v04_a_figure_that_is_not_saved(server: RunningServer) -> None:
    """It is captured, and marked by a warning; profile classic-strict keeps to the letter, and shows nothing."""

    captured = run_module(server, OPEN_FIGURE, D1)
    strict = run_module(server, OPEN_FIGURE, D1, profile="classic-strict")

    gives(captured, D1, figure_captured="figure-1.png")
    assert [size_of(image) for image in captured.images().values()] == [(640, 480)]
    gives(strict, D1)
    assert strict.run["images"] == []


def test_v05_images_in_other_places(server: RunningServer) -> None:
    """In a folder and in capitals they are shown; a corrupt one is named instead."""
    script = MAKE_PNG + (
        "import os, time\ndef azureml_main(df):\n"
        "    os.mkdir('plots')\n    png('plots/deep.png', 1)\n    time.sleep(0.02)\n    png('UPPER.PNG', 2)\n"
        "    with open('corrupt.png', 'wb') as file:\n        file.write(b'no image')\n    return df,\n"
    )

    module = run_module(server, script, D1)

    gives(module, D1, image_unreadable="corrupt.png")
    assert list(module.images().items()) == [("plots/deep.png", png(1)), ("UPPER.PNG", png(2))]


def test_v07_save_then_raise(server: RunningServer) -> None:
    """What was printed and drawn before a failure is still there."""
    script = MAKE_PNG + "def azureml_main(df):\n    print('so far')\n    png('p.png', 3)\n    raise ValueError('no')\n"

    module = run_module(server, script, D1)

    fails(module, "0085", "ValueError", "no", line=11)
    assert "so far" in module.log().splitlines()
    assert module.images() == {"p.png": png(3)}


ROC = """
    import matplotlib
    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    import pandas as pd
    from sklearn import metrics

    def azureml_main(dataframe1=None, dataframe2=None):
        truth = dataframe1.ix[:, "Class"]
        scores = dataframe1.ix[:, "Scored Probabilities"]
        guess = dataframe1.ix[:, 2]
        fpr, tpr, _ = metrics.roc_curve(truth, scores)
        table = pd.DataFrame(columns=["Metric", "Value"], index=range(4))
        table.ix[0] = ["Accuracy", metrics.accuracy_score(truth, guess)]
        table.ix[1] = ["Precision", metrics.precision_score(truth, guess)]
        table.ix[2] = ["Recall", metrics.recall_score(truth, guess)]
        table.ix[3] = ["AUC", metrics.auc(fpr, tpr)]
        table["Value"] = table["Value"].astype(float)
        figure = plt.figure()
        axes = figure.gca()
        axes.plot(fpr, tpr)
        axes.plot([0, 1], [0, 1], "--")
        axes.set_xlabel("False positive rate")
        axes.set_ylabel("True positive rate")
        figure.savefig("roc.png")
        return table,
"""


def test_v09_a_curve_by_way_of_ix(server: RunningServer) -> None:
    """Scores in, four metrics and one image out, by the old accessor `.ix`: for labels, positions and writing."""
    scored = pa.table(
        {
            "Class": [0, 0, 1, 1, 1],
            "Scored Probabilities": [0.1, 0.6, 0.4, 0.8, 0.9],
            "Scored Labels": [0, 1, 0, 1, 1],
        }
    )

    module = run_module(server, ROC, scored)

    assert module.run["status"] == "succeeded", module.error
    table = module.table()
    assert table.schema == pa.schema([("Metric", pa.string()), ("Value", pa.float64())])
    assert table["Metric"].to_pylist() == ["Accuracy", "Precision", "Recall", "AUC"]
    assert table["Value"].to_pylist() == pytest.approx([3 / 5, 2 / 3, 2 / 3, 5 / 6])
    assert list(module.images()) == ["roc.png"]
    warned(module, removed_api=".ix")


def test_rule_6_6_images_by_time_and_once(server: RunningServer) -> None:
    """By the time of the last writing, then by name; a rewritten one once; the bundle's only when it was changed."""
    script = MAKE_PNG + (
        "import os, time\ndef azureml_main():\n"
        "    png('z.png', 9)\n    time.sleep(0.02)\n    png('y.png', 1)\n    time.sleep(0.02)\n    png('z.png', 2)\n"
        "    for name in ('n.png', 'm.png'):\n        png(name, 3)\n        os.utime(name, ns=(5, 5))\n"
        "    time.sleep(0.02)\n    png('Script Bundle/changed.png', 4)\n"
        "    os.rename('n.png', 'text.txt')\n    os.rename('text.txt', 'n.png')\n"
    )
    bundle = zipped({"logo.png": png(7), "changed.png": png(8)})

    module = run_module(server, script, bundle=bundle)

    gives(module, EMPTY, returned_nothing="nothing")
    assert list(module.images().items()) == [
        ("m.png", png(3)),
        ("n.png", png(3)),
        ("y.png", png(1)),
        ("z.png", png(2)),
        ("Script Bundle/changed.png", png(4)),
    ]


def test_rule_6_7_no_screen_is_needed(server: RunningServer) -> None:
    """matplotlib draws with Agg, whether the script says so or not."""
    script = """
        import matplotlib.pyplot as plt
        def azureml_main():
            print(plt.get_backend().lower())
            figure, axes = plt.subplots()
            axes.plot([1, 2])
            figure.savefig("p.png")
            plt.show()
    """

    module = run_module(server, script)

    warned(module, returned_nothing="nothing")
    assert module.log(stream="stdout") == "agg\n"
    assert list(module.images()) == ["p.png"]


def test_rule_6_1_vector_graphics_are_a_download(server: RunningServer) -> None:
    """An SVG is listed with its type, and handed out as a file, never as something that a browser runs."""
    script = """
        import matplotlib.pyplot as plt
        def azureml_main(df):
            df.plot(x="a", y="b").figure.savefig("curve.svg")
            return df,
    """

    module = run_module(server, script, D1)

    gives(module, D1)
    assert [(image["name"], image["type"]) for image in module.run["images"]] == [("curve.svg", "image/svg+xml")]
    answer = server.get(f"{module.address}/images/curve.svg")
    assert b"<svg" in answer.content
    assert answer.headers["Content-Disposition"].startswith("attachment")
