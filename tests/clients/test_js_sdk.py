"""@aws-sdk/client-s3 and lib-storage with their default settings, on http and https.

The checks are in `node/s3.mjs`, which runs once for each scheme and reports them one by one.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.clients import NODE_PROJECT, require_node_packages
from tests.support.server import clean_environment

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

SCRIPT = NODE_PROJECT / "s3.mjs"
CHECKS = re.findall(r"^  async (\w+)\(\)", SCRIPT.read_text(), re.M)


@pytest.fixture(scope="module", params=["http", "https"])
def results(request: pytest.FixtureRequest) -> dict[str, str | None]:
    """What each check ended with: None, or why it failed."""
    require_node_packages("@aws-sdk/client-s3", "@aws-sdk/lib-storage")
    server = request.getfixturevalue("server" if request.param == "http" else "secure_server")
    environment = clean_environment(
        ENDPOINT=server.endpoint,
        ACCESS_KEY=server.access_key,
        SECRET=server.secret,
        BUCKET="javascript",
    )
    if server.tls_cert:
        environment["NODE_EXTRA_CA_CERTS"] = str(server.tls_cert)
    done = subprocess.run(
        ["node", SCRIPT.name],
        cwd=Path(SCRIPT).parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    reports = map(json.loads, done.stdout.splitlines())
    return {report["check"]: report["error"] for report in reports}


@pytest.mark.parametrize("check", CHECKS)
def test_javascript_sdk(results: dict[str, str | None], check: str) -> None:
    assert results[check] is None, results[check]
