"""Write scikit-learn's breast-cancer data out as a table: 569 tumours, 30 measurements of each, and a target."""

from sklearn.datasets import load_breast_cancer


def azureml_main(dataframe1=None, dataframe2=None):
    """No input; returns the measurements with a last column `target` (0 malignant, 1 benign)."""
    frame = load_breast_cancer(as_frame=True).frame
    print(f"{len(frame)} rows, {len(frame.columns)} columns")
    return frame
