from pathlib import Path

import arviz as az
import pytest
import synthetic

from popinfer.inference_data import InferenceData
from popinfer.report import write_report


@pytest.fixture(scope="session")
def converged_run() -> InferenceData:
    return synthetic.run()


@pytest.fixture(scope="session")
def report_folder(tmp_path_factory, converged_run) -> Path:
    """One whole report, from draws that went through NetCDF as those of a real run do."""
    folder = tmp_path_factory.mktemp("run")
    converged_run.to_netcdf(str(folder / "posterior.nc"), engine="h5netcdf")
    stored = az.from_netcdf(str(folder / "posterior.nc"), engine="h5netcdf")
    write_report(stored, synthetic.summary(), folder)
    return folder
