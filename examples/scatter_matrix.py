"""Draw a scatter matrix of the iris data: each measurement against each other, one colour per species."""

import matplotlib
from pandas.plotting import scatter_matrix
from sklearn.datasets import load_iris

matplotlib.use("Agg")  # no screen in a sandbox


def azureml_main(dataframe1=None, dataframe2=None):
    """No input; saves scatter_matrix.png, which comes back as an image, and returns the data it shows."""
    frame = load_iris(as_frame=True).frame

    axes = scatter_matrix(frame.drop(columns="target"), c=frame["target"], figsize=(8, 8))
    axes[0, 0].figure.savefig("scatter_matrix.png", dpi=80)
    return frame
