"""Call a function of a module that came in a zip (Hello.zip, which holds Hello.py)."""

import pandas as pd
from Hello import print_hello


def azureml_main(dataframe1=None, dataframe2=None):
    """Greets in the log; returns whom it greeted."""
    names = ["World"]
    for name in names:
        print_hello(name)
    return pd.DataFrame({"greeted": names})
