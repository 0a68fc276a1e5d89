"""A client that is generated from the document, used once on a running daemon: python3 use.py URL KEY"""

import sys
import time

from gatewarden_client import AuthenticatedClient
from gatewarden_client.api.gateways import check_gateways, create_gateway, list_gateways
from gatewarden_client.api.spawns import read_spawn, spawn
from gatewarden_client.models import ErrorBody, GatewayList, NewGatewayBody, Spawn, SpawnAccepted, SpawnBody, SpawnState
from gatewarden_client.models.error_code import ErrorCode

ENDED = {SpawnState.COMPLETED, SpawnState.FAILED, SpawnState.KILLED, SpawnState.LOST}


def main(url: str, key: str) -> None:
    client = AuthenticatedClient(base_url=url, token=key)

    gateways = list_gateways.sync(client=client)
    assert isinstance(gateways, GatewayList), gateways
    assert [gateway.status for gateway in gateways.gateways] == ["online"], gateways

    checked = check_gateways.sync_detailed(client=client)
    assert checked.status_code == 200, checked

    wrong = create_gateway.sync_detailed(client=client, body=NewGatewayBody(name="", host="127.0.0.1", port=0))
    assert wrong.status_code == 400 and "x-request-id" in wrong.headers, wrong
    assert isinstance(wrong.parsed, ErrorBody) and wrong.parsed.code == ErrorCode.INVALID_REQUEST, wrong

    taken = spawn.sync(client=client, body=SpawnBody(agent="sample", task="count to 2"))
    assert isinstance(taken, SpawnAccepted), taken
    state = taken.status
    deadline = time.monotonic() + 30
    while state not in ENDED and time.monotonic() < deadline:
        time.sleep(0.1)
        found = read_spawn.sync(taken.spawn_id, client=client)
        assert isinstance(found, Spawn), found
        state = found.status
    assert state == SpawnState.COMPLETED, state


if __name__ == "__main__":
    main(*sys.argv[1:])
