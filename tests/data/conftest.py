"""What the tests of the readers share."""

import pytest


@pytest.fixture
def written(tmp_path, request):
    """Write a text into a file, by default the test module's ``FILE``, and give its path."""

    def write(text: str, name: str | None = None):
        path = tmp_path / (name or request.module.FILE)
        path.write_text(text)
        return path

    return write
