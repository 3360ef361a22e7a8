"""Images to the files of their predictions: decoding, network and encoding overlap."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from torch import Tensor

from maskmill.canonical.png import RGB
from maskmill.postprocess.array_network import ArrayNetwork
from maskmill.postprocess.prediction import Network
from maskmill.postprocess.torch_network import Tensors, TorchNetwork
from maskmill.postprocess.whole_image import WholeImage
from maskmill.serving.image_folder import Images, OnProblem
from maskmill.serving.output_format import OutputFormat
from maskmill.serving.predictor import Predictor
from maskmill.serving.unfinished import Outcome, UnfinishedFolder
from maskmill.sources.finding import Finding, Findings

# Images in work at a time need about 30 bytes per pixel beside the network.
MAX_PIXELS = 2**27


class ArrayInOneThread(ArrayNetwork):
    """A network that several threads may call, and that one thread runs, batch by batch.

    So the outputs of one batch at a time are in memory. The allocator keeps memory per thread: a
    network that ran in each of four threads would keep four times as much.

    Args:
        network: images to outputs.
    """

    def __init__(self, network: ArrayNetwork) -> None:
        super().__init__(gives_logits=network.gives_logits, temperature=network.temperature)
        self._network = network
        self._thread = ThreadPoolExecutor(1)

    def __call__(self, images: Any) -> Any:
        """The outputs for a batch, see `ArrayNetwork`."""
        return self._thread.submit(self._network, images).result()

    def maps(self, images: Any) -> Any:
        """The outputs as the network gives them, see `ArrayNetwork`."""
        return self._thread.submit(self._network.maps, images).result()


class TorchInOneThread(TorchNetwork):
    """The same for a network in torch."""

    def __init__(self, network: TorchNetwork) -> None:
        device = str(network.device)
        super().__init__(network.forward, device=device, temperature=network.temperature)
        self._network = network
        self._thread = ThreadPoolExecutor(1)

    def __call__(self, images: Any) -> Any:
        """The outputs for a batch, see `TorchNetwork`."""
        return self._thread.submit(self._network, images).result()

    def tensors(self, images: Tensor) -> Tensors:
        """The outputs with class logits, see `TorchNetwork`."""
        return self._thread.submit(self._network.tensors, images).result()


def in_one_thread(network: Network) -> Network:
    """A network of any runtime for several threads; a plain function stays as it is."""
    if isinstance(network, TorchNetwork):
        return TorchInOneThread(network)
    return ArrayInOneThread(network) if isinstance(network, ArrayNetwork) else network


class BatchPrediction:
    """Predicts batches of images and writes what the format makes of them.

    A batch is read, post-processed, encoded and written by one of several threads, while another
    one runs the network.

    Args:
        predictor: makes the predictions.
        images: all images.
        output_format: makes files of predictions.
        folder: receives them, and knows which batches are there already.
        on_problem: `stop` raises the error of an image that cannot be read, `exclude` leaves the
            image out.
    """

    def __init__(
        self,
        predictor: Predictor,
        images: Images,
        output_format: OutputFormat,
        folder: UnfinishedFolder,
        *,
        on_problem: OnProblem,
    ) -> None:
        network = predictor.network
        inference = predictor.inference
        if isinstance(inference, WholeImage) and inference.views is not None:
            network = inference.views(network)  # the mean is made in the one thread too
            inference = WholeImage()
        self.predictor = Predictor(
            in_one_thread(network), predictor.postprocess, inference=inference
        )
        self.images = images
        self.output_format = output_format
        self.folder = folder
        self.on_problem = on_problem

    def run(self, batches: Sequence[range], *, workers: int) -> Iterator[range]:
        """Predict batches; those that the folder has already are not predicted again.

        Args:
            batches: indices of images, see `split_batches`.
            workers: the number of threads; fewer are used for very large images.

        Yields:
            each batch, in order, when it is written.
        """
        sizes = [record.height * record.width for record in self.images.records]
        num_threads = min(workers, MAX_PIXELS // max(sizes) or 1)
        with ThreadPoolExecutor(num_threads) as threads:
            yield from threads.map(self._predict, batches)

    def _predict(self, batch: range) -> range:
        digests = [self.images.digest(index) for index in batch] if self.folder.has(batch) else []
        if not self.folder.is_done(batch, digests):
            self.folder.keep(batch, self._outcomes(batch))
        return batch

    def _outcomes(self, batch: range) -> list[Outcome]:
        excluded: list[Outcome] = []
        decoded: deque[tuple[int, RGB, str, Findings]] = deque()  # until they are predicted
        outcomes = []
        images = self._decode(batch, decoded, excluded)
        for prediction in self.predictor(images, batch_size=len(batch)):
            index, image, digest, findings = decoded.popleft()
            entry = self.output_format.entry(self.images.records[index], image, prediction)
            self.folder.write(entry.files)
            outcomes.append(Outcome(index, digest, list(entry.files), entry.row, findings))
        return sorted(outcomes + excluded, key=lambda outcome: outcome.index)

    def _decode(
        self,
        batch: range,
        decoded: deque[tuple[int, RGB, str, Findings]],
        excluded: list[Outcome],
    ) -> Iterator[RGB]:
        """The images of a batch, one by one."""
        for index in batch:
            findings = Findings()
            try:
                image, digest = self.images.read(index, findings)
            except (ValueError, OSError) as error:
                if self.on_problem == "stop":
                    raise
                problem = Finding.from_error(error, self.images.paths[index])
                excluded.append(Outcome(index, self.images.digest(index), findings=[problem]))
                continue
            decoded.append((index, image, digest, findings))
            yield image


def split_batches(num_images: int, batch_size: int) -> list[range]:
    """The indices of consecutive images, `batch_size` at a time.

    Batches do not depend on what is done already, nor on the number of processes: networks round
    differently at another batch size.

    Example:
        >>> split_batches(5, 2)
        [range(0, 2), range(2, 4), range(4, 5)]
    """
    starts = range(0, num_images, batch_size)
    return [range(start, min(start + batch_size, num_images)) for start in starts]
