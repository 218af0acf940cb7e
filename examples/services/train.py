"""Train a classifier on the iris data, on your own machine, and pack it for `score.py`: `python train.py model.zip`.

A pickle fits the libraries that wrote it: train with the versions that the service's environment has
(`GET /v1/environments` lists them), or as a run on the server, as here: the run leaves the zip's bytes as a table.
"""

import base64
import io
import pickle
import sys
import zipfile

import pandas as pd
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression


def azureml_main(dataframe1=None, dataframe2=None):
    """Gives one cell, `bundle`: a zip with model.pkl, in base64."""
    iris = load_iris(as_frame=True)
    model = LogisticRegression(max_iter=1000).fit(iris.data, iris.target_names[iris.target])
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("model.pkl", pickle.dumps(model))
    return pd.DataFrame({"bundle": [base64.b64encode(packed.getvalue()).decode()]})


if __name__ == "__main__":
    with open(sys.argv[1], "wb") as file:
        file.write(base64.b64decode(azureml_main()["bundle"][0]))
