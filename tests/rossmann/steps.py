"""The steps of the pipeline, of this model: ``step(config, ...)``."""

from functools import partial

from include.models.rossmann.model import MODEL
from include.retraining.steps import check as _check
from include.retraining.steps import compare as _compare
from include.retraining.steps import monitor as _monitor
from include.retraining.steps import predict as _predict
from include.retraining.steps import pull as _pull
from include.retraining.steps import register as _register
from include.retraining.steps import review as _review
from include.retraining.steps import train as _train
from include.retraining.steps import validate as _validate

pull = partial(_pull.pull, MODEL)
features = partial(_train.prepare, MODEL)
train = partial(_train.train, MODEL)
ensemble = partial(_train.combine, MODEL)
register = partial(_register.register, MODEL)
validate = partial(_validate.validate, MODEL)
review = partial(_review.review, MODEL)
check = partial(_check.check, MODEL)
compare = partial(_compare.compare, MODEL)
predict = partial(_predict.predict, MODEL)
monitor = partial(_monitor.monitor, MODEL)
