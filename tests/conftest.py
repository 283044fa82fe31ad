import pytest
import torch
from hypothesis import settings

from pagbench import benchmarks, data
from pagbench.measures import calibration
from pagbench.measures.calibration import Temperature
from pagbench.measures.context import MeasureContext
from pagbench.models import checks, registry
from pagbench.results import StoragePath
from pagbench.running import target_files, targets

settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")  # how long an example takes says more of the machine than of the code
torch.set_num_threads(1)  # the networks are tiny, and spinning threads of two processes are many times slower


@pytest.fixture(scope="module")
def short_preflight():
    """Looks at few images before a run, for tests of what comes after: the checks have tests of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "IMAGES", 16)
        patch.setattr(checks, "_PROBED", 4)
        checks.probe.cache_clear()
        yield
    checks.probe.cache_clear()


@pytest.fixture(scope="module")
def few_resamples():
    """Resamples the temperature few times, for tests that compare with no run of the full number."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "_RESAMPLES", 20)
        yield


@pytest.fixture(scope="module")
def short_runs(short_preflight, few_resamples):
    """Runs of which only what is measured in between is as long as anybody's."""


@pytest.fixture(scope="session", autouse=True)
def _lines_of_any_length():
    """Piped tables are as wide as they are, but for tests that ask for a width; a runner of tests may set one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COLUMNS", raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def _own_targets(tmp_path_factory):
    """Targets that these tests compute, so that none meets those of another day."""
    place = tmp_path_factory.mktemp("targets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target_files, "folder", lambda: place)
        yield


@pytest.fixture(scope="session")
def digits():
    return benchmarks.load("digits@1")


@pytest.fixture(scope="session")
def digits_splits(digits):
    return data.splits(digits)


@pytest.fixture(scope="session")
def digits_batch(digits, digits_splits):
    """Sixteen digits with their targets."""
    ids = digits.samples[:16]
    return targets.compute(digits, digits_splits, ids, seed=0, device=torch.device("cpu")).batch(ids)


@pytest.fixture(scope="session")
def observe(digits, digits_batch):
    """Looks at a classifier on sixteen digits."""

    def look(classifier, temperature=1.0, batch=digits_batch, benchmark=digits):
        return MeasureContext(classifier, batch, benchmark, Temperature(temperature, temperature, temperature))

    return look


@pytest.fixture(scope="session")
def noise_trained(digits):
    return registry.find("digits/noise-0.6").load(digits).classifier


@pytest.fixture(scope="session")
def bucket():
    """URL of a bucket on an S3-compatible server of this machine."""
    server_of = pytest.importorskip("moto.server", reason="needs moto: results in an S3 bucket")
    server = server_of.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    with pytest.MonkeyPatch.context() as patch:
        server.start()
        host, port = server.get_host_and_port()
        for name, value in {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1"}.items():
            patch.setenv(name, value)
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        made = StoragePath.parse("s3://pags?allow_bucket_creation=true")
        made.files.create_dir("pags")
        yield "s3://pags"
        server.stop()
