import socket

import pytest

from local_stack.errors import PortTakenError
from local_stack.ports import HOST, NamedPort, is_free, require_free
from tests.ports import free_port


@pytest.fixture
def taken():
    with socket.socket() as server:
        server.bind((HOST, 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_port_with_a_listener_is_not_free(taken):
    assert not is_free(taken)


def test_a_port_that_is_listened_to_on_all_addresses_is_not_free():
    with socket.socket() as server:
        server.bind(("0.0.0.0", 0))
        server.listen()
        assert not is_free(server.getsockname()[1])


def test_free_port_is_free():
    assert is_free(free_port())


def test_the_message_names_port_server_and_the_way_out(taken):
    wanted = [
        NamedPort("Airflow", taken, "AIRFLOW_PORT=8081"),
        NamedPort("MLflow", free_port(), "MLFLOW_PORT=5001"),
    ]
    with pytest.raises(PortTakenError) as error:
        require_free(wanted)
    message = str(error.value)
    assert f"port {taken}" in message
    assert "Airflow" in message
    assert "AIRFLOW_PORT=8081" in message
    assert "MLflow" not in message


def test_two_servers_cannot_ask_for_one_port():
    port = free_port()
    with pytest.raises(PortTakenError, match="cannot share"):
        require_free([NamedPort("Airflow", port, "A"), NamedPort("MLflow", port, "B")])
