"""What `gateway-ctl` does, and its exit statuses (docs/status.md).

The library that draws is loaded only when something is drawn.
"""

import argparse
import os
import sys
import time

from gateway.ctl.answers import Answers, Failure, ask
from gateway.ctl.picking import Pick
from gateway.ctl.printing import complain, line, write
from gateway.ctl.terminal import look_at, redrawn
from gateway.errors import GatewayError
from gateway.protocol.instances import run_directory


def run(arguments: argparse.Namespace) -> int:
    """Runs the command and returns the exit status."""
    try:
        if arguments.command == "list":
            return _list()
        if arguments.command == "client":
            return _client(arguments)
        if arguments.watch is not None:
            return _watch(arguments)
        return _status(arguments)
    except GatewayError as error:
        if not arguments.quiet:
            complain(str(error))
        return error.exit_status


def _status(arguments: argparse.Namespace) -> int:
    answers, pick = _ask(arguments.instance), Pick(arguments.peer)
    if arguments.quiet:
        return answers.exit_status
    write(answers.json(pick) if arguments.json else _screen_of(answers, pick))
    for failure in answers.failures:
        complain(failure.error)
    return answers.exit_status


def _list() -> int:
    from gateway.ctl.render import overview  # noqa: PLC0415

    answers = _ask(None)
    statuses = [report.status for report in answers.reports]
    failures = [(failure.instance, failure.error) for failure in answers.failures]
    write(overview(statuses, failures, look_at(sys.stdout, os.environ)))
    return answers.exit_status


def _client(arguments: argparse.Namespace) -> int:
    from gateway.ctl.clients import client_page  # noqa: PLC0415

    page, notes = client_page(run_directory(os.environ), arguments, look_at(sys.stdout, os.environ))
    write(page)
    for note in notes:
        complain(note)
    return 0


def _watch(arguments: argparse.Namespace) -> int:
    """Again and again until interrupted or nobody reads; then the last exit status."""
    exit_status = 0
    try:
        while True:
            exit_status, page = _page(arguments)
            if not write(page):
                return exit_status
            time.sleep(arguments.watch)
    except KeyboardInterrupt:
        return exit_status


def _page(arguments: argparse.Namespace) -> tuple[int, bytes]:
    """What a watcher sees at this moment; an instance that is away may come back."""
    try:
        answers = _ask(arguments.instance)
    except GatewayError as error:
        failure = Failure(arguments.instance or "", str(error), error.exit_status)
        answers = Answers(arguments.instance, [], [failure])
    if arguments.json:
        return answers.exit_status, answers.json(Pick(arguments.peer), one_line=True)
    page = _screen_of(answers, Pick(arguments.peer)) + b"".join(
        line(each.error) for each in answers.failures
    )
    return answers.exit_status, redrawn(page, look_at(sys.stdout, os.environ))


def _ask(instance: str | None) -> Answers:
    return ask(run_directory(os.environ), instance)


def _screen_of(answers: Answers, pick: Pick) -> bytes:
    if not answers.reports:
        return b""
    from gateway.ctl.render import screen  # noqa: PLC0415

    statuses = [report.status for report in answers.reports]
    return screen(statuses, look_at(sys.stdout, os.environ), pick)
