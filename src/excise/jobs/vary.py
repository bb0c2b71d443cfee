"""Whether an edit holds when the concept is asked for otherwise."""

from __future__ import annotations

from excise.evaluation import Classifier
from excise.evaluation.conditions import vary as asked_otherwise
from excise.evaluation.detector import ClassifierDetector
from excise.jobs.inputs import load_edited, read_edits
from excise.jobs.provenance import provenance
from excise.progress import Progress, silent
from excise.requests.request import function
from excise.requests.vary import VaryRequest
from excise.results.variation import Variation


def run(request: VaryRequest, progress: Progress = silent) -> Variation:
    """Carry out a request that was checked."""
    target, classifier = request.target, request.described.classifier
    assert classifier is not None
    detector = ClassifierDetector(Classifier.load(classifier), target)
    model, edits = load_edited(request, read_edits(request.edit), progress)
    found = asked_otherwise(model, target, edits, detector, pictures=request.pictures, seed=request.seed, progress=progress)
    result = Variation(concept=target.label, provenance=provenance(model, edits, request.seed), conditions=found)
    if request.json_file is not None:
        result.write(request.json_file, overwrite=request.overwrite)
    return result


vary = function(VaryRequest, run)
