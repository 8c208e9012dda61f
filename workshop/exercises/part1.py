"""The checks of part 1, each on data that are made up or on the configuration alone."""

import json

import mlflow
import numpy as np
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import confusion_matrix
from sklearn.preprocessing import RobustScaler, StandardScaler
from sklearn.svm import LinearSVC

from samerun import to_yaml
from workshop import made_up
from workshop.checks import SECRET, check, expect_no_secret, expect_parameters
from workshop.drive import Call, Crash, Driver, Record

OVERRIDES = (
    "data=digits", f"data.name={made_up.NAME}", "seed=7", f"+api_key={SECRET}",
    "model.max_iter=40", "+extra.depth=3",
)  # fmt: skip
SPLITS = ("train", "val")
FEW = 50  # images, at most, in an example


def trained(part: Driver) -> Record:
    """Return the record of one run on made-up data, with a secret in its configuration."""
    return part.run("train.py", *OVERRIDES)


def scored(record: Record, split: str) -> Call:
    """Return the call of `score` for a split, which the number of its labels tells."""
    calls = (c for c in record.calls["score"] if len(c.arguments["labels"]) == made_up.SIZES[split])
    return next(calls)


@check("1.1")
def c_can_be_set_in_the_config(part: Driver) -> None:
    model = part.compose("data=digits").model
    assert "C" in model, (
        "conf/model/logistic_regression.yaml has no key C; expected C: 0.01, "
        f"beside {', '.join(map(str, model))}"
    )
    assert isinstance(model.C, float), f"C is {model.C!r}; expected the number 0.01"
    assert model.C == 0.01, f"C is {model.C}; expected 0.01"
    changed = part.compose("data=digits", "model.C=0.1").model.C
    assert changed == 0.1, f"model.C=0.1 makes it {changed}; expected 0.1"


@check("1.2")
def preprocessing_and_classifier_come_from_the_config(part: Driver) -> None:
    def built(*overrides: str):
        record = part.run("train.py", "data=digits", *overrides, until="check_parameters")
        return dict(record.locals.get("steps") or {}), record.locals.get("classifier")

    _, classifier = built("seed=7", "model.max_iter=3")
    for argument, expected in {"max_iter": 3, "random_state": 7}.items():
        used = getattr(classifier, argument, None)
        assert used == expected, (
            f"with model.max_iter=3 seed=7 the classifier has {argument}={used}; "
            f"expected {expected}, from cfg.model"
        )
    steps, classifier = built("model=ridge", "model.alpha=5", "preprocessing=standardised")
    assert isinstance(classifier, RidgeClassifier) and classifier.alpha == 5, (
        f"with model=ridge model.alpha=5 the classifier is {classifier}; "
        "expected RidgeClassifier(alpha=5): the config names the class, too"
    )
    assert list(steps) == ["standardise"] and isinstance(steps["standardise"], StandardScaler), (
        f"with preprocessing=standardised the steps are {steps}; "
        "expected {'standardise': StandardScaler()}, from cfg.preprocessing.steps"
    )
    another = "preprocessing.steps.standardise._target_=sklearn.preprocessing.RobustScaler"
    steps, classifier = built(
        "model._target_=sklearn.svm.LinearSVC", "preprocessing=standardised", another
    )
    for found, expected in ((classifier, LinearSVC), (steps.get("standardise"), RobustScaler)):
        assert isinstance(found, expected), (
            f"with {expected.__name__} in the config there is {found}; expected {expected.__name__}"
            ", as of any other class that the config names"
        )
    steps, _ = built("preprocessing.steps.components.n_components=9")
    used = getattr(steps.get("components"), "n_components", None)
    assert used == 9, (
        f"with preprocessing.steps.components.n_components=9 the components have n_components="
        f"{used}; expected 9, from cfg.preprocessing.steps"
    )


@check("1.3")
def every_value_of_the_config_is_a_parameter(part: Driver) -> None:
    expect_parameters(trained(part).run, part.compose(*OVERRIDES))


@check("1.4")
def the_resolved_config_is_an_artifact(part: Driver) -> None:
    text = trained(part).artifact("config.yaml")
    assert text is not None, "the run has no artifact config.yaml; expected the config as YAML"
    assert "${" not in text, (
        "config.yaml still holds ${...}; expected the values in their place (to_yaml does it)"
    )
    found = OmegaConf.create(text)
    expected = part.compose(*OVERRIDES)
    expect_no_secret(trained(part).run, "artifact config.yaml", "to_yaml(cfg)")
    assert found == OmegaConf.create(to_yaml(expected)), (
        f"config.yaml holds {', '.join(map(str, found)) or 'nothing'}; expected the whole config: "
        f"{', '.join(map(str, expected))}"
    )


def _rows(profile: dict) -> int | None:
    """Return the rows that MLflow counted, which it calls otherwise for each kind of data."""
    shape = profile.get("features_shape")
    if isinstance(shape, dict):  # an array for each column
        shape = next(iter(shape.values()), None)
    return shape[0] if shape else profile.get("num_rows")


def _values(profile: dict) -> int:
    """Return the number of values that MLflow counted, in all columns together."""
    size = profile.get("features_size", profile.get("num_elements", 0))
    return sum(size.values()) if isinstance(size, dict) else size


@check("1.5")
def the_training_data_is_an_input_of_the_run(part: Driver) -> None:
    inputs = trained(part).run.inputs.dataset_inputs
    assert len(inputs) == 1, f"the run has {len(inputs)} data sets as inputs; expected 1"
    dataset, tags = inputs[0].dataset, {tag.key: tag.value for tag in inputs[0].tags}
    data = made_up.gratings()
    assert dataset.name == data.name, (
        f"the input is named {dataset.name!r}; expected dataset.name, {data.name!r}"
    )
    assert dataset.digest == data.digest, (
        f"the input has the digest {dataset.digest!r}; expected dataset.digest, {data.digest!r}"
    )
    context = tags.get("mlflow.data.context")
    assert context == "training", f"the context of the input is {context!r}; expected 'training'"
    profile = json.loads(dataset.profile or "{}")
    rows, values = _rows(profile), _values(profile)
    assert rows == len(data.train), (
        f"the input has {rows} rows; expected the {len(data.train)} of the training set"
    )
    assert values >= data.train.images.size, (
        f"the input has {values} values; expected the {data.train.images.size} pixels of the "
        "training images"
    )
    targets = profile.get("targets_shape", [rows])
    assert targets == [rows], (
        f"the targets have the shape {targets}; expected {[rows]}, the labels of the same images"
    )


@check("1.6")
def both_scores_of_every_split_are_metrics(part: Driver) -> None:
    record = trained(part)
    logged = record.run.data.metrics
    for split in SPLITS:
        for metric, value in scored(record, split).result.items():
            name = f"{split}_{metric}"
            assert name in logged, (
                f"the run has no metric {name}; expected {name} = {value:.4f}, "
                f"found {', '.join(sorted(logged)) or 'no metric at all'}"
            )
            assert np.isclose(logged[name], value), (
                f"the metric {name} is {logged[name]:.7g}; expected {value:.7g}"
            )


@check("1.7")
def the_confusion_matrix_of_the_validation_set_is_a_figure(part: Driver) -> None:
    record = trained(part)
    assert "confusion_matrix.png" in record.figures, (
        "no figure confusion_matrix.png was logged; "
        f"found {', '.join(sorted(record.figures)) or 'none'}"
    )
    logged = [file.path for file in mlflow.artifacts.list_artifacts(run_id=record.run.info.run_id)]
    assert "confusion_matrix.png" in logged, (
        "confusion_matrix.png was saved, but not to the run; expected mlflow.log_figure"
    )
    figure = record.figures["confusion_matrix.png"]
    labels, predicted = scored(record, "val").arguments.values()
    counts = confusion_matrix(labels, predicted)
    assert figure.arrays, "confusion_matrix.png shows no matrix; expected ConfusionMatrixDisplay's"
    drawn = np.asarray(figure.arrays[0])
    assert drawn.sum() == counts.sum(), (
        f"the matrix counts {drawn.sum():g} images; "
        f"expected the {counts.sum()} of the validation set"
    )
    assert not np.array_equal(drawn, counts.T) or np.array_equal(counts, counts.T), (
        "the matrix is transposed; expected the true labels first, then the predicted ones"
    )
    assert np.array_equal(drawn, counts), (
        "the matrix is not that of the validation set; expected its labels and its predictions"
    )
    names = list(made_up.CLASSES)
    for axis, ticks in {"x": figure.x_labels, "y": figure.y_labels}.items():
        assert ticks[: len(names)] == names, (
            f"with other classes the {axis} axis says {', '.join(ticks[: len(names)])}; "
            f"expected the names of the classes: {', '.join(names)}"
        )


@check("1.8")
def the_model_is_logged_with_signature_and_example(part: Driver) -> None:
    record = trained(part)
    uri = f"runs:/{record.run.info.run_id}/model"
    try:
        info = mlflow.models.get_model_info(uri)
    except mlflow.exceptions.MlflowException:
        raise AssertionError('the run has no model named "model"; expected one') from None
    signature = info.signature
    assert signature is not None and signature.inputs and signature.outputs, (
        "the model has no signature; expected one: pass signature= or input_example="
    )
    assert info.saved_input_example_info is not None, (
        "the model has no input example; expected a few rows: input_example="
    )
    data, predicted = made_up.gratings(), scored(record, "val").arguments["predicted"]
    try:
        loaded = mlflow.pyfunc.load_model(uri)
        again = loaded.get_raw_model().predict(data.val.images)
    except Exception as error:
        raise AssertionError(
            f"the logged model cannot predict: {error}; expected the fitted model"
        ) from None
    same = float(np.mean(again == predicted))
    assert same == 1, (
        f"the logged model agrees with the run on {same:.0%} of the validation images; "
        "expected all: log `model`, the preprocessing and the classifier together"
    )
    example = loaded.input_example
    rows = np.asarray(example).reshape(len(example), -1)
    known = {image.tobytes() for image in data.train.images}
    strange = [row for row in rows if row.astype(np.uint8).tobytes() not in known]
    assert not strange, (
        f"{len(strange)} of the {len(rows)} rows of the input example are no training images; "
        "expected some of those: train.images"
    )
    assert 1 <= len(rows) <= FEW, (
        f"the input example has {len(rows)} images; expected a few, such as 5"
    )
    try:
        answers = loaded.predict(example)
    except mlflow.exceptions.MlflowException as error:
        raise AssertionError(
            f"the signature does not fit the input example: {error}; expected the signature of "
            "images and of what the model predicts for them"
        ) from None
    goes_in = [np.dtype(str(kind)) for kind in signature.inputs.input_types()]
    assert all(np.issubdtype(kind, np.integer) for kind in goes_in), (
        f"the signature says that {', '.join(map(str, goes_in))} go in; expected "
        f"{data.train.images.dtype}, the pixels as they are"
    )
    kinds = {str(output.type) for output in signature.outputs.inputs}
    shape = getattr(signature.outputs.inputs[0], "shape", (-1,))  # a column has none
    assert len(shape) == 1, (
        f"the signature says that an array of shape {shape} comes out; expected (-1,), the classes "
        "that model.predict returns"
    )
    assert all("int" in kind or "long" in kind for kind in kinds) and len(answers) == len(rows), (
        f"the signature says that {', '.join(kinds)} come out; expected the numbers of classes, "
        "as model.predict returns them"
    )


@check("1.9")
def a_sweep_of_c_is_written_down(part: Driver) -> None:
    cfg = part.compose("+sweep=regularisation", with_hydra=True)
    params = dict(cfg.hydra.sweeper.params or {})
    assert "model.C" in params, (
        "the sweep has no key model.C; "
        f"found {', '.join(map(str, params)) or 'no key'}, expected model.C: 0.001,..."
    )
    override = OverridesParser.create().parse_override(f"model.C={params['model.C']}")
    assert override.is_sweep_override(), (
        f"model.C: {params['model.C']} is one value; expected several with commas between them"
    )
    try:
        values = sorted({float(value) for value in override.sweep_iterator()})
    except ValueError as error:
        raise AssertionError(f"model.C: {params['model.C']}: {error}; expected numbers") from None
    assert len(values) >= 4, f"the sweep has {len(values)} different values; expected at least 4"
    others = [f"{name}={value}" for name, value in params.items() if name != "model.C"]
    parse = OverridesParser.create().parse_override
    more = [other for other in others if parse(other).is_sweep_override()]
    assert not more, f"the sweep varies {', '.join(more)}, too; expected model.C alone"
    if OmegaConf.select(part.compose(), "model.C") is not None:  # else TODO 1.1 is open
        try:
            part.compose("+sweep=regularisation", *others, f"model.C={values[0]}")
        except Crash as crash:
            raise AssertionError(
                f"no run of this sweep can begin: {crash}; expected nothing that takes model.C away"
            ) from None
    assert 0 < values[0] <= 0.001 and values[-1] >= 1, (
        f"the sweep goes from {values[0]:g} to {values[-1]:g}; expected 0.001 to 1 or wider"
    )
