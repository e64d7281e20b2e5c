"""Ports for servers that tests and `infra.local` start: nobody else's, also when the server is away for a while."""

from __future__ import annotations

import socket

import pytest

from infra.local.servers import FIRST_PORT, MIN_PORTS, _clients_first_port, _Ports, free_port


def test_no_port_is_given_twice() -> None:
    given = [free_port() for _ in range(200)]
    assert len(set(given)) == len(given)


@pytest.mark.skipif(_clients_first_port() < FIRST_PORT + MIN_PORTS, reason="this kernel gives clients nearly all ports")
def test_the_kernel_gives_none_of_them_to_a_client() -> None:
    """A client that called a killed service was connected to itself, and the service could not come back."""
    assert max(free_port() for _ in range(200)) < _clients_first_port()


def test_a_port_that_is_taken_is_passed_over() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        ports = _Ports(port, port + 20)
        assert port not in [ports.take() for _ in range(20)]
