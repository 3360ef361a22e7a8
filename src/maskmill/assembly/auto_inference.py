"""The choice `inference=auto`."""

from maskmill.postprocess.prediction import Inference


class AutoInference:
    """Stands for the inference of the model itself, which is known when the model is loaded.

    A version of the registry predicts as it was tested. A model that was only trained predicts
    whole images.
    """


ChosenInference = Inference | AutoInference
