"""Models of tables, as the libraries that people train with and their converters really make them: each with a request,
and with what the library itself predicts for it.
"""
import lightgbm
import numpy as np
import onnxmltools
import xgboost
from onnxmltools.convert.common.data_types import FloatTensorType as Floats
from skl2onnx import convert_sklearn, to_onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import GradientBoostingRegressor, IsolationForest, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

# Numbers that float32 holds, as the models compute with.
FLOWERS, SPECIES = load_iris(return_X_y=True)
FLOWERS = FLOWERS.astype("float32")
NAMES = np.array(["setosa", "versicolor", "virginica"])[SPECIES]
PATIENTS, PROGRESS = load_diabetes(return_X_y=True)
PATIENTS = PATIENTS.astype("float32")
# One of each species.
SOME = FLOWERS[[0, 75, 140]]
FEW_TREES = {"n_estimators": 5, "random_state": 0}


def maps(classifier, rows):
    """What becomes of `predict_proba` in a sequence of maps: a row each, label → probability."""
    labels = [str(label) for label in classifier.classes_]
    return [dict(zip(labels, map(float, row))) for row in classifier.predict_proba(rows)]


def flower(classifier, target, **options):
    """A classifier of flowers by scikit-learn, whose converter ends it in a ZipMap unless it is told not to."""
    classifier.fit(FLOWERS, target)
    answer = {"output_label": classifier.predict(SOME), "output_probability": maps(classifier, SOME)}
    return to_onnx(classifier, FLOWERS[:1], **options), {"X": SOME}, answer


def columns():
    """An output for each class instead of a map."""
    classifier = RandomForestClassifier(**FEW_TREES).fit(FLOWERS, NAMES)
    answer = {"output_label": classifier.predict(SOME)}
    answer |= {f"s{label}": column for label, column in zip(classifier.classes_, classifier.predict_proba(SOME).T)}
    return to_onnx(classifier, FLOWERS[:1], options={"zipmap": "columns"}), {"X": SOME}, answer


def mixed():
    """Strings and numbers side by side, with gaps and with a city that was never seen."""
    draw = np.random.default_rng(3)
    table = np.empty((200, 2), "object")
    table[:, 0] = np.array(["Bern", "Oslo", "Rome"])[draw.integers(0, 3, 200)]
    table[:, 1] = draw.integers(18, 80, 200).astype("float32")
    target = np.where((table[:, 1] > 40) ^ (table[:, 0] == "Rome"), "yes", "no")
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    parts = [("city", OneHotEncoder(handle_unknown="ignore"), [0]), ("age", numbers, [1])]
    model = make_pipeline(ColumnTransformer(parts), LogisticRegression()).fit(table, target)
    types = [("city", StringTensorType([None, 1])), ("age", FloatTensorType([None, 1]))]
    rows = np.array([["Rome", 30.0], ["Paris", 61.0], ["Bern", np.nan]], "object")
    request = {"city": rows[:, :1], "age": rows[:, 1:].astype("float32")}
    answer = {"output_label": model.predict(rows), "output_probability": maps(model, rows)}
    return convert_sklearn(model, initial_types=types), request, answer


def words():
    """Texts whole, weighed by their words."""
    texts = ["good food", "bad food", "great wine", "awful wine", "good day", "bad day"]
    model = make_pipeline(TfidfVectorizer(lowercase=False), LogisticRegression()).fit(texts, [1, 0, 1, 0, 1, 0])
    said = ["good wine", "bad bad day", "nothing known"]
    answer = {"output_label": model.predict(said), "output_probability": maps(model, said)}
    return convert_sklearn(model, initial_types=[("text", StringTensorType([None]))]), {"text": np.array(said, "object")}, answer


def lowered():
    """Texts whose case doesn't count, in alphabets with other letters than ASCII's."""
    texts = ["Gute ÄPFEL", "äpfel sind übel", "Très BON café", "CAFÉ mauvais", "ЧАЙ хорош", "плохой чай"]
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(C=50)).fit(texts, [1, 0, 1, 0, 1, 0])
    said = ["gute äpfel", "ÜBEL", "CAFÉ ÜBEL", "Чай ХОРОШ", "ÄPFEL"]
    answer = {"output_label": model.predict(said), "output_probability": maps(model, said)}
    # The converter's own expression for a word knows the letters of ASCII alone.
    options = {TfidfVectorizer: {"tokenexp": r"[\p{L}\p{N}_]{2,}"}}
    graph = convert_sklearn(model, initial_types=[("text", StringTensorType([None]))], options=options)
    return graph, {"text": np.array(said, "object")}, answer


def progress(regressor, convert, name):
    """A regressor: one number a patient."""
    regressor.fit(PATIENTS, PROGRESS)
    some = PATIENTS[:4]
    return convert(regressor), {name: some}, {"variable": regressor.predict(some).reshape(-1, 1)}


def clusters():
    """No classes but groups, and how far each is."""
    model = KMeans(3, n_init=1, random_state=0).fit(FLOWERS)
    return to_onnx(model, FLOWERS[:1]), {"X": SOME}, {"label": model.predict(SOME), "scores": model.transform(SOME)}


def outliers():
    """What is like the rest and what is not."""
    model = IsolationForest(**FEW_TREES).fit(FLOWERS)
    rows = np.vstack([SOME, np.full((1, 4), 40, "float32")])
    answer = {"label": model.predict(rows).reshape(-1, 1), "scores": model.decision_function(rows).reshape(-1, 1)}
    return to_onnx(model, FLOWERS[:1], target_opset={"": 18, "ai.onnx.ml": 3}), {"X": rows}, answer


def with_floats(convert, features, **options):
    """A converter of onnxmltools, told that the input is `x`."""
    return lambda model: convert(model, initial_types=[("x", Floats([None, features]))], **options)


def boosted(classifier, target, convert):
    """A classifier of flowers that gives probabilities in a tensor."""
    classifier.fit(FLOWERS, target)
    answer = {"label": classifier.predict(SOME), "probabilities": classifier.predict_proba(SOME)}
    return convert(classifier), {"x": SOME}, answer


def lightgbm_maps():
    """LightGBM's converter ends a classifier in a ZipMap, and says that there is one label, whatever the rows."""
    classifier = lightgbm.LGBMClassifier(verbose=-1, **FEW_TREES).fit(FLOWERS, NAMES)
    answer = {"label": classifier.predict(SOME), "probabilities": maps(classifier, SOME)}
    return with_floats(onnxmltools.convert_lightgbm, 4)(classifier), {"x": SOME}, answer


FROM_XGBOOST = with_floats(onnxmltools.convert_xgboost, 4)
CASES = {
    "sklearn-logistic": lambda: flower(LogisticRegression(max_iter=500), NAMES),
    "sklearn-forest": lambda: flower(RandomForestClassifier(**FEW_TREES), SPECIES),
    "sklearn-neighbours": lambda: flower(KNeighborsClassifier(3), NAMES),
    "sklearn-columns": columns,
    "sklearn-mixed": mixed,
    "sklearn-words": words,
    "sklearn-lowered": lowered,
    "sklearn-boosted": lambda: progress(GradientBoostingRegressor(**FEW_TREES), lambda m: to_onnx(m, PATIENTS[:1]), "X"),
    "sklearn-clusters": clusters,
    "sklearn-outliers": outliers,
    "xgboost-classes": lambda: boosted(xgboost.XGBClassifier(**FEW_TREES), SPECIES, FROM_XGBOOST),
    "xgboost-two-classes": lambda: boosted(xgboost.XGBClassifier(**FEW_TREES), SPECIES == 2, FROM_XGBOOST),
    "xgboost-number": lambda: progress(
        xgboost.XGBRegressor(**FEW_TREES), with_floats(onnxmltools.convert_xgboost, 10), "x"),
    "lightgbm-maps": lightgbm_maps,
    "lightgbm-classes": lambda: boosted(
        lightgbm.LGBMClassifier(verbose=-1, **FEW_TREES), NAMES,
        with_floats(onnxmltools.convert_lightgbm, 4, zipmap=False)),
    "lightgbm-number": lambda: progress(
        lightgbm.LGBMRegressor(verbose=-1, **FEW_TREES), with_floats(onnxmltools.convert_lightgbm, 10), "x"),
    "lightgbm-split": lambda: progress(
        lightgbm.LGBMRegressor(verbose=-1, **FEW_TREES), with_floats(onnxmltools.convert_lightgbm, 10, split=2), "x"),
}
