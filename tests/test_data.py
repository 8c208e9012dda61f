"""What a user notices of workshop.data: the arrays, and what is said when they cannot be had.

The real files are read from FASHION_MNIST_DIR; the faults are made with small stand-ins and a
server on 127.0.0.1, so that nothing here needs a network.
"""

import base64
import gzip
import hashlib
import http.server
import json
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from workshop import data

REAL = os.environ.get("FASHION_MNIST_DIR")
REPO = Path(data.__file__).resolve().parents[1]
TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = data.FILES
STAND_INS = {
    name: random.Random(name).randbytes(200_000 + 1_000 * i) for i, name in enumerate(data.FILES)
}


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    return data.load_dataset("digits")


@pytest.fixture(scope="module")
def fashion() -> data.Dataset:
    if not REAL:
        pytest.skip("FASHION_MNIST_DIR is not set: the four original files are needed")
    return data.load_dataset("fashion_mnist")


@pytest.fixture
def stand_ins(monkeypatch, tmp_path) -> dict[str, bytes]:
    """Small files take the place of the originals, and tmp_path/data that of the repo's data/."""
    table = {name: (_sha256(content), len(content)) for name, content in STAND_INS.items()}
    monkeypatch.setattr(data, "FILES", table)
    monkeypatch.setattr(data, "DATA_DIR", tmp_path / "data")
    monkeypatch.delenv("FASHION_MNIST_DIR", raising=False)
    # Nothing here may reach the internet, and nothing may stand between us and our own server.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return STAND_INS


@pytest.fixture
def chosen(stand_ins, monkeypatch, tmp_path) -> Path:
    """A good FASHION_MNIST_DIR, for a test to damage."""
    folder = _fill(tmp_path / "chosen")
    monkeypatch.setenv("FASHION_MNIST_DIR", str(folder))
    return folder


@pytest.fixture
def raw(stand_ins) -> Path:
    """Where downloaded files stand; not there yet."""
    return data.DATA_DIR / "FashionMNIST" / "raw"


@pytest.fixture
def mirror(raw, monkeypatch):
    """A server that is taken for Fashion-MNIST's."""
    with _Mirror() as server:
        monkeypatch.setattr(data, "MIRRORS", [server.address])
        yield server


class _Mirror(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.address = f"http://127.0.0.1:{self.server_port}/"
        self.fault = None  # or "404", "login", "cut", "hang"
        self.silence_s = 60  # of a hang that nobody ends
        self.downloads = []  # names, one for each body asked for
        self.passwords = []  # as a proxy is given them
        self.timeouts = []  # what any other socket of this process would have had meanwhile
        self.half_sent, self.go_on = threading.Event(), threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *_):
        self.go_on.set()
        self.shutdown()
        self.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, name = self.server, self.path.rpartition("/")[2]
        server.passwords.append(self.headers.get("Proxy-Authorization"))
        body = b"<html>Log in" if server.fault == "login" else STAND_INS[name]
        if server.fault == "404":
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        server.downloads.append(name)
        server.timeouts.append(socket.getdefaulttimeout())
        half = len(body) // 2
        self.wfile.write(body[:half])
        if server.fault == "cut":
            return
        if server.fault == "hang":
            self.wfile.flush()
            server.half_sent.set()
            server.go_on.wait(server.silence_s)
        with suppress(OSError):  # the client was killed or gave up
            self.wfile.write(body[half:])

    def log_message(self, *_):
        pass


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _fill(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name, content in STAND_INS.items():
        (folder / name).write_bytes(content)
    return folder


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _message() -> str:
    """What a user is shown when Fashion-MNIST cannot be had."""
    with pytest.raises(data.DataError) as raised:
        data.fetch_fashion_mnist()
    print(raised.value)
    return str(raised.value)


# --- the arrays ----------------------------------------------------------------------------------


def test_an_unknown_data_set_is_named_beside_the_accepted_ones():
    with pytest.raises(data.DataError, match=r"'mnist'.* digits, fashion_mnist"):
        data.load_dataset("mnist")


def test_digits_has_1197_training_300_validation_and_300_test_images(digits):
    assert [len(digits.train), len(digits.val), len(digits.test)] == [1197, 300, 300]


def test_digits_images_are_28x28_bytes_over_the_whole_range(digits):
    images = digits.train.images
    assert (images.shape[1:], images.dtype) == ((28, 28), np.uint8)
    assert (images.min(), images.max()) == (0, 255)


def test_digits_keeps_every_image_of_scikit_learn_with_its_label_in_exactly_one_split(digits):
    from sklearn.datasets import load_digits

    original = load_digits()
    expected = Counter(
        (image.astype(int).tobytes(), int(label))
        for image, label in zip(original.images, original.target, strict=True)
    )
    found = Counter(
        (np.rint(image[3:26:3, 3:26:3] * (16 / 255)).astype(int).tobytes(), int(label))
        for split in (digits.train, digits.val, digits.test)
        for image, label in zip(split.images, split.labels, strict=True)
    )
    assert found == expected


def test_digits_repeats_each_pixel_3x3_inside_a_border_of_2(digits):
    inner = digits.train.images[:, 2:26, 2:26].reshape(-1, 8, 3, 8, 3)
    assert (inner == inner[:, :, :1, :, :1]).all()
    assert digits.train.images.sum(dtype=int) == inner.sum(dtype=int)


def test_digits_splits_hold_the_classes_in_equal_shares(digits):
    for split in (digits.train, digits.val, digits.test):
        shares = np.bincount(split.labels, minlength=10) / len(split)
        assert np.ptp(shares) < 0.02


def test_digits_are_the_same_everywhere(digits):
    assert digits.digest == "414d102955133f909ba8acd808ca501d"


def test_digits_names_its_classes_and_source(digits):
    assert digits.classes == tuple("0123456789")
    assert digits.source == "sklearn.datasets.load_digits"


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("field", ["images", "labels"])
def test_arrays_cannot_be_changed_by_accident(digits, split, field):
    with pytest.raises(ValueError, match="read-only"):
        getattr(getattr(digits, split), field)[0] = 0


def test_mean_and_std_are_those_of_the_training_pixels_scaled_to_0_and_1(digits):
    scaled = digits.train.images / 255
    assert (digits.mean, digits.std) == pytest.approx((scaled.mean(), scaled.std()), rel=1e-12)


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("field", ["images", "labels"])
def test_the_digest_changes_with_one_value(digits, split, field):
    splits = {name: getattr(digits, name) for name in ("train", "val", "test")}
    arrays = {"images": splits[split].images.copy(), "labels": splits[split].labels.copy()}
    arrays[field].flat[-1] += 1
    splits[split] = data.Split(**arrays)
    assert data._digest(splits) != digits.digest


def test_the_digest_changes_when_two_splits_change_places(digits):
    swapped = {"train": digits.train, "val": digits.test, "test": digits.val}
    assert data._digest(swapped) != digits.digest


def test_the_digest_changes_with_the_name_of_a_split(digits):
    renamed = {"train": digits.train, "test": digits.val, "val": digits.test}
    assert data._digest(renamed) != digits.digest


def test_the_digest_fits_into_mlflow(digits):
    assert re.fullmatch("[0-9a-f]{32}", digits.digest)


def test_fashion_mnist_has_50000_training_10000_validation_and_10000_test_images(fashion):
    assert [len(fashion.train), len(fashion.val), len(fashion.test)] == [50_000, 10_000, 10_000]


def test_fashion_mnist_arrays_have_the_promised_shapes_and_types(fashion):
    for split in (fashion.train, fashion.val, fashion.test):
        assert (split.images.shape, split.images.dtype) == ((len(split), 28, 28), np.uint8)
        assert (split.labels.shape, split.labels.dtype) == ((len(split),), np.int64)


def test_fashion_mnist_validates_on_the_last_10000_of_the_training_file(fashion):
    images = gzip.decompress((Path(REAL) / TRAIN_IMAGES).read_bytes())
    labels = gzip.decompress((Path(REAL) / TRAIN_LABELS).read_bytes())
    assert fashion.val.images.tobytes() == images[-10_000 * 784 :]
    assert fashion.val.labels.astype(np.uint8).tobytes() == labels[-10_000:]


def test_fashion_mnist_has_the_classes_that_its_authors_gave_it(fashion):
    # The first training images are an ankle boot and a T-shirt; the first test image a boot.
    assert [fashion.classes[label] for label in fashion.train.labels[:2]] == [
        "Ankle boot",
        "T-shirt/top",
    ]
    assert fashion.classes[fashion.test.labels[0]] == "Ankle boot"
    assert np.bincount(fashion.test.labels).tolist() == [1000] * 10


def test_fashion_mnist_is_the_same_everywhere(fashion):
    assert fashion.digest == "3f0bc19852ecda7112fa0fe119464b9b"
    assert (fashion.mean, fashion.std) == pytest.approx((0.2854989, 0.3527844), abs=1e-7)


def test_fashion_mnist_names_the_folder_it_was_read_from(fashion):
    assert Path(fashion.source) == Path(REAL).absolute()


def test_fashion_mnist_arrays_cannot_be_changed_by_accident(fashion):
    for split in (fashion.train, fashion.val, fashion.test):
        assert not split.images.flags.writeable
        assert not split.labels.flags.writeable


def test_the_digest_does_not_depend_on_the_compression(fashion, monkeypatch, tmp_path):
    for name in data.FILES:
        (tmp_path / name).write_bytes((Path(REAL) / name).read_bytes())
    stored = gzip.compress(gzip.decompress((tmp_path / TEST_LABELS).read_bytes()), 1)
    (tmp_path / TEST_LABELS).write_bytes(stored)
    monkeypatch.setitem(data.FILES, TEST_LABELS, (_sha256(stored), len(stored)))
    monkeypatch.setenv("FASHION_MNIST_DIR", str(tmp_path))
    assert data.load_dataset("fashion_mnist").digest == fashion.digest


@pytest.mark.slow
def test_importing_the_module_loads_no_heavy_package_and_makes_no_folder():
    existed = data.DATA_DIR.exists()
    script = "import sys, workshop.data; print({'torch', 'pooch', 'sklearn'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], cwd=REPO, capture_output=True, text=True)
    assert done.stdout == "set()\n"
    assert data.DATA_DIR.exists() == existed


# --- the user's own folder -----------------------------------------------------------------------


def test_good_files_in_the_chosen_folder_are_used(chosen):
    assert data.fetch_fashion_mnist() == chosen


def test_an_empty_fashion_mnist_dir_counts_as_unset(raw, monkeypatch):
    monkeypatch.setenv("FASHION_MNIST_DIR", "")
    _fill(raw)
    assert data.fetch_fashion_mnist() == raw


def test_a_tilde_in_fashion_mnist_dir_means_the_home_folder(chosen, monkeypatch):
    monkeypatch.setenv("HOME", str(chosen.parent))
    monkeypatch.setenv("USERPROFILE", str(chosen.parent))
    monkeypatch.setenv("FASHION_MNIST_DIR", "~/chosen")
    assert data.fetch_fashion_mnist() == chosen


def test_a_chosen_folder_that_does_not_exist_is_named(chosen, monkeypatch):
    monkeypatch.setenv("FASHION_MNIST_DIR", str(chosen / "nowhere"))
    message = _message()
    assert f"FASHION_MNIST_DIR={chosen / 'nowhere'} cannot be opened as a folder" in message


def test_a_file_in_place_of_the_chosen_folder_is_named(chosen, monkeypatch):
    monkeypatch.setenv("FASHION_MNIST_DIR", str(chosen / TEST_LABELS))
    message = _message()
    assert f"FASHION_MNIST_DIR={chosen / TEST_LABELS} cannot be opened as a folder" in message


def test_a_missing_file_is_named_in_the_error(chosen):
    (chosen / TEST_LABELS).unlink()
    assert f"  {TEST_LABELS} is missing\n" in _message()


def test_a_truncated_file_is_named_in_the_error_with_both_sizes(chosen):
    (chosen / TRAIN_IMAGES).write_bytes(STAND_INS[TRAIN_IMAGES][:1234])
    assert f"  {TRAIN_IMAGES} is truncated: 1,234 bytes, expected 200,000\n" in _message()


@pytest.mark.parametrize("extra", [b"", b"more"], ids=["same size", "longer"])
def test_an_altered_file_is_named_in_the_error_with_both_checksums(chosen, extra):
    altered = b"x" + STAND_INS[TEST_IMAGES][1:] + extra
    (chosen / TEST_IMAGES).write_bytes(altered)
    expected = _sha256(STAND_INS[TEST_IMAGES])[:12]
    line = f"  {TEST_IMAGES} is altered: SHA-256 {_sha256(altered)[:12]}..., expected {expected}..."
    assert line in _message()


def test_swapped_images_and_labels_are_told_apart(chosen):
    (chosen / TEST_LABELS).write_bytes(STAND_INS[TEST_IMAGES])
    (chosen / TEST_IMAGES).write_bytes(STAND_INS[TEST_LABELS])
    message = _message()
    assert f"  {TEST_LABELS} holds what belongs in {TEST_IMAGES}\n" in message
    assert f"  {TEST_IMAGES} holds what belongs in {TEST_LABELS}\n" in message


def test_all_bad_files_of_the_chosen_folder_are_named_at_once_and_no_good_one(chosen):
    (chosen / TEST_LABELS).unlink()
    (chosen / TRAIN_IMAGES).write_bytes(b"")
    named = {name for name in data.FILES if name in _message()}
    assert named == {TEST_LABELS, TRAIN_IMAGES}


def test_the_chosen_folder_is_never_written_to(chosen):
    (chosen / TEST_LABELS).write_bytes(b"bad")
    before = _contents(chosen)
    _message()
    assert _contents(chosen) == before


def test_nothing_is_downloaded_in_place_of_a_bad_chosen_folder(chosen):
    (chosen / TEST_LABELS).unlink()
    _message()
    assert not data.DATA_DIR.exists()


def test_a_folder_in_place_of_a_file_is_named(chosen):
    (chosen / TEST_LABELS).unlink()
    (chosen / TEST_LABELS).mkdir()
    assert f"{chosen / TEST_LABELS} cannot be read" in _message()


@contextmanager
def _without_privileges():
    """Permission bits do not bind root, so step down to nobody for a while."""
    if not hasattr(os, "geteuid"):
        pytest.skip("Windows has no permission bits")
    if os.geteuid() != 0:
        yield
        return
    try:
        os.seteuid(65534)
    except PermissionError:
        pytest.skip("root may not change its user here")
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder():
    """A folder which everybody may enter; pytest's own tmp_path is for its owner only."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)
        os.chmod(folder, 0o755)


def test_a_file_without_read_permission_is_named(stand_ins, open_folder, monkeypatch):
    chosen = _fill(open_folder / "chosen")
    (chosen / TEST_LABELS).chmod(0)
    monkeypatch.setenv("FASHION_MNIST_DIR", str(chosen))
    with _without_privileges():
        assert f"{chosen / TEST_LABELS} cannot be read: Permission denied" in _message()


def test_a_folder_without_read_permission_is_named(stand_ins, open_folder, monkeypatch):
    chosen = _fill(open_folder / "chosen")
    chosen.chmod(0)
    monkeypatch.setenv("FASHION_MNIST_DIR", str(chosen))
    with _without_privileges():
        assert f"{chosen} cannot be opened as a folder: Permission denied" in _message()


# --- the repository's data/ ----------------------------------------------------------------------


def test_good_files_in_the_repository_are_used_without_a_network(raw):
    _fill(raw)
    assert data.fetch_fashion_mnist() == raw
    assert not (data.DATA_DIR / ".fashion_mnist.lock").exists()


def test_a_data_folder_without_write_permission_is_named(stand_ins, open_folder, monkeypatch):
    monkeypatch.setattr(data, "DATA_DIR", open_folder / "data")
    open_folder.chmod(0o555)
    with _without_privileges():
        assert f"Permission denied: {open_folder / 'data'}. Expected" in _message()


@pytest.mark.parametrize("place", ["data", "data/FashionMNIST", "data/FashionMNIST/raw"])
def test_a_file_in_place_of_the_data_folder_is_named(raw, tmp_path, place):
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_text("in the way", encoding="utf-8")
    message = _message()
    assert f": {tmp_path / place}. Expected a folder" in message
    assert "delete a file that stands where a folder should be" in message


# --- the download --------------------------------------------------------------------------------


@pytest.mark.slow
def test_missing_files_are_downloaded(mirror, raw):
    assert data.fetch_fashion_mnist() == raw
    assert _contents(raw) == STAND_INS


@pytest.mark.slow
def test_good_files_are_not_downloaded_again(mirror, raw):
    _fill(raw)
    (raw / TEST_LABELS).unlink()
    data.fetch_fashion_mnist()
    assert mirror.downloads == [TEST_LABELS]


@pytest.mark.slow
def test_a_damaged_file_in_the_repository_is_replaced_and_the_user_told(mirror, raw, capsys):
    _fill(raw)
    (raw / TEST_LABELS).write_bytes(b"bad")
    data.fetch_fashion_mnist()
    assert _contents(raw) == STAND_INS
    assert f"{raw / TEST_LABELS} is truncated: 3 bytes" in capsys.readouterr().err


@pytest.mark.slow
def test_a_refused_connection_leads_to_digits_and_to_a_neighbours_copy(raw, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        monkeypatch.setattr(data, "MIRRORS", [address])
        message = _message()
    assert f"{address}{TRAIN_IMAGES}" in message
    assert "data=digits" in message
    assert "FASHION_MNIST_DIR" in message


@pytest.mark.slow
def test_a_file_the_server_does_not_have_is_reported_with_its_address(mirror):
    mirror.fault = "404"
    assert f"{mirror.address}{TRAIN_IMAGES}: 404 Client Error: Not Found" in _message()


@pytest.mark.slow
def test_a_connection_cut_half_way_is_reported_with_both_sizes(mirror):
    mirror.fault = "cut"
    assert re.search(r"100,000 bytes, expected 200,000|100000 bytes read", _message())


@pytest.mark.slow
def test_a_login_page_in_place_of_a_file_is_not_taken_for_it(mirror, raw):
    mirror.fault = "login"
    assert "a Wi-Fi that wants a login first" in _message()
    assert _contents(raw) == {}


@pytest.mark.slow
def test_a_server_that_falls_silent_is_given_up(mirror, monkeypatch):
    mirror.fault, mirror.silence_s = "hang", 3
    monkeypatch.setattr(data, "DOWNLOAD_TIMEOUT_S", 0.3)
    assert "timed out" in _message()


@pytest.mark.slow
def test_a_download_sets_no_timeout_for_the_rest_of_the_process(mirror):
    data.fetch_fashion_mnist()
    assert mirror.timeouts == [None] * len(STAND_INS)


@pytest.mark.slow
def test_a_download_goes_through_the_proxy_of_the_environment_with_its_password(
    mirror, raw, monkeypatch
):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(data, "MIRRORS", ["http://mirror.example/"])
    proxy = mirror.address.replace("http://", "http://ada:s%40cret@")
    monkeypatch.setenv("http_proxy", proxy)
    data.fetch_fashion_mnist()
    assert _contents(raw) == STAND_INS
    assert {base64.b64decode(seen.split()[1]) for seen in mirror.passwords} == {b"ada:s@cret"}


@pytest.mark.slow
def test_a_second_mirror_is_tried_after_half_a_file_from_the_first(mirror, raw, monkeypatch):
    with _Mirror() as first:
        first.fault = "cut"
        monkeypatch.setattr(data, "MIRRORS", [first.address, mirror.address])
        data.fetch_fashion_mnist()
    assert _contents(raw) == STAND_INS


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's full device")
def test_a_full_disk_is_reported_as_such(mirror, raw, monkeypatch):
    import pooch.downloaders

    def open_full(*_args, **_kwargs):
        return open("/dev/full", "wb")

    monkeypatch.setattr(pooch.downloaders, "open", open_full, raising=False)
    assert f"The disk is full: {raw} needs 31 MB" in _message()


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["404", "cut", "login"])
def test_a_failed_download_leaves_nothing_behind(mirror, raw, fault):
    mirror.fault = fault
    _message()
    assert _contents(raw) == {}


CHILD = """
import json, sys
from pathlib import Path
from workshop import data
folder, address, table = sys.argv[1:]
data.DATA_DIR = Path(folder)
data.FILES = {name: tuple(entry) for name, entry in json.loads(table).items()}
data.MIRRORS = [address]
data.fetch_fashion_mnist()
"""


@contextmanager
def _child(mirror: _Mirror, stderr: Path):
    """Another process that fetches into the same data folder."""
    command = [sys.executable, "-c", CHILD, data.DATA_DIR, mirror.address, json.dumps(data.FILES)]
    with (
        stderr.open("wb") as stream,
        subprocess.Popen(command, stderr=stream, cwd=REPO) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def _wait_for(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "expected within 60 s"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_process_killed_in_mid_download_does_not_disturb_the_next(mirror, raw, tmp_path):
    mirror.fault = "hang"
    partial = raw / ".partial" / TRAIN_IMAGES
    with _child(mirror, tmp_path / "err") as child:
        assert mirror.half_sent.wait(60)
        _wait_for(partial.exists)
        child.kill()
    assert partial.exists()  # SIGKILL leaves no time to clean up
    assert not (raw / TRAIN_IMAGES).exists()
    mirror.fault = None

    data.fetch_fashion_mnist()

    assert _contents(raw) == STAND_INS


@pytest.mark.slow
def test_two_processes_at_once_download_once_and_the_second_says_that_it_waits(
    mirror, raw, tmp_path
):
    mirror.fault = "hang"
    errors = [tmp_path / "err1", tmp_path / "err2"]

    def one_waits() -> bool:
        return sum("waiting" in path.read_text(encoding="utf-8") for path in errors) == 1

    with _child(mirror, errors[0]) as first, _child(mirror, errors[1]) as second:
        assert mirror.half_sent.wait(60)
        _wait_for(one_waits)
        mirror.fault = None
        mirror.go_on.set()
        assert [first.wait(60), second.wait(60)] == [0, 0]

    assert sorted(mirror.downloads) == sorted(STAND_INS)
    assert _contents(raw) == STAND_INS
