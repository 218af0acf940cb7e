"""Score rows with a model that comes in the bundle: the four measurements of an iris in, its species out."""

import pickle

with open("Script Bundle/model.pkl", "rb") as file:
    MODEL = pickle.load(file)


def azureml_main(dataframe1, dataframe2=None):
    """The table, with `species` and the `probability` that the model gives it."""
    features = dataframe1[list(MODEL.feature_names_in_)]
    return dataframe1.assign(
        species=MODEL.predict(features),
        probability=MODEL.predict_proba(features).max(axis=1),
    )
