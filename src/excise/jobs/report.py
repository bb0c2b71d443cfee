"""The report page of a folder of results."""

from __future__ import annotations

from pathlib import Path

from excise.report.page import build
from excise.requests.report import ReportRequest
from excise.requests.request import function


def run(request: ReportRequest) -> Path:
    """Carry out a request that was checked; returns the page's path."""
    return build(request.contents, request.page)


report = function(ReportRequest, run)
