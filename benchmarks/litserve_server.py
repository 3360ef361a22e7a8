"""A registered version in LitServe, with our decoding, prediction and segments: see server.py.

    python benchmarks/litserve_server.py MODEL PORT

A file of its own, because LitServe imports it again in its worker.
"""

import sys

import litserve

from maskmill.assembly.model_loading import AUTO
from maskmill.assembly.serving import ModelLoader
from maskmill.serving.segment_rows import segment_rows
from maskmill.sources.finding import Findings
from maskmill.sources.images import decode_photo


class Segments(litserve.LitAPI):
    def setup(self, device):
        self.model = ModelLoader("cpu", 1, AUTO, {})(sys.argv[1])

    def decode_request(self, request):
        return decode_photo(request["image"].file.read(), "image", Findings())

    def predict(self, image):
        return self.model.predict([image])[0]

    def encode_response(self, prediction):
        return {"segments": segment_rows(prediction, self.model.categories)}


if __name__ == "__main__":
    server = litserve.LitServer(Segments(), accelerator="cpu")
    server.run(
        host="127.0.0.1", port=int(sys.argv[2]), log_level="error", generate_client_file=False
    )
