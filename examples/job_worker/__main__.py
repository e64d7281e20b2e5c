"""`python -m examples.job_worker`: works some jobs, and tells how far they are."""

from __future__ import annotations

import argparse
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from examples.calls import Caller, amqp_caller, http_caller
from examples.command import parser_of, status_of
from examples.job_worker.jobs import Job, checksums, export
from examples.job_worker.worker import Worker


def main() -> int:
    """Status 0 where all jobs were done, 1 where some failed, 2 where they could not be told of."""
    parser = parser_of("examples.job_worker", __doc__)
    parser.add_argument("folders", type=Path, nargs="*", help="folders whose files are summed up, a job for each")
    parser.add_argument("--exports", type=int, default=3, help="without folders: how many exports (%(default)s)")
    parser.add_argument("--at-once", type=int, default=2, help="jobs that are worked side by side (%(default)s)")
    return status_of(_work(parser.parse_args()))


async def _work(options: argparse.Namespace) -> int:
    jobs = _jobs(options)
    print(f"{', '.join(f'job/{job.id}' for job in jobs)}, to {options.to}", flush=True)
    async with _caller(options) as caller:
        failed = await Worker(caller, options.to).work_all(jobs, options.at_once)
    return 1 if failed else 0


def _jobs(options: argparse.Namespace) -> list[Job]:
    if options.folders:
        return [checksums(f"{options.id}-{number}", folder) for number, folder in enumerate(options.folders, 1)]
    ids = [f"{options.id}-{number}" for number in range(1, options.exports + 1)]
    return [export(id_, f"{options.seed}/{number}", options.pace) for number, id_ in enumerate(ids, 1)]


def _caller(options: argparse.Namespace) -> AbstractAsyncContextManager[Caller]:
    if options.amqp:
        return amqp_caller(options.amqp, options.namespace)
    return http_caller(options.url, options.key)


if __name__ == "__main__":
    sys.exit(main())
