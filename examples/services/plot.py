"""Draw a table's first two columns against each other: called with `Accept: image/png` it answers with the picture."""

import matplotlib.pyplot as plt


def azureml_main(dataframe1, dataframe2=None, *, params=None):
    """Takes `title` as a parameter; gives the table as it came."""
    x, y = dataframe1.columns[:2]
    dataframe1.plot.scatter(x=x, y=y, title=(params or {}).get("title"))
    plt.savefig("plot.png", dpi=100)
    return dataframe1
