"""A client that is generated from the document, used once on a running daemon: python3 use.py URL KEY PORT

The daemon sends its notifications to PORT.
"""

import json
import sys
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

from gatewarden_client import AuthenticatedClient
from gatewarden_client.api.gateways import check_gateways, create_gateway, delete_gateway_by_path, list_gateways
from gatewarden_client.api.spawns import read_spawn, spawn
from gatewarden_client.models import (
    Deleted, ErrorBody, GatewayAnswer, GatewayList, NewGatewayBody, Notification, NotificationKind, Spawn, SpawnAccepted, SpawnBody,
    SpawnResultEvent, SpawnState,
)
from gatewarden_client.models.error_code import ErrorCode

ENDED = {SpawnState.COMPLETED, SpawnState.FAILED, SpawnState.KILLED, SpawnState.LOST}
PATIENCE_S = 30


def spawn_events(stream):
    """The events of a stream of the type `spawn_result`."""
    for line in stream:
        if line.startswith(b"data: "):
            yield SpawnResultEvent.from_dict(json.loads(line[len(b"data: "):]))


def notifications(port: int):
    """What comes to the webhook."""
    told = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            told.append(Notification.from_dict(json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    deadline = time.monotonic() + PATIENCE_S
    with HTTPServer(("127.0.0.1", port), Receiver) as server:
        server.timeout = 1
        while time.monotonic() < deadline:
            server.handle_request()
            while told:
                yield told.pop(0)


def main(url: str, key: str, port: str) -> None:
    client = AuthenticatedClient(base_url=url, token=key)

    gateways = list_gateways.sync(client=client)
    assert isinstance(gateways, GatewayList), gateways
    assert [gateway.status for gateway in gateways.gateways] == ["online"], gateways

    checked = check_gateways.sync_detailed(client=client)
    assert checked.status_code == 200, checked

    wrong = create_gateway.sync_detailed(client=client, body=NewGatewayBody(name="", host="127.0.0.1", port=0))
    assert wrong.status_code == 400 and "x-request-id" in wrong.headers, wrong
    assert isinstance(wrong.parsed, ErrorBody) and wrong.parsed.code == ErrorCode.INVALID_REQUEST, wrong

    follow = urllib.request.Request(f"{url}/api/events?types=spawn_result", headers={"X-API-Key": key})
    with urllib.request.urlopen(follow, timeout=PATIENCE_S) as stream:
        taken = spawn.sync(client=client, body=SpawnBody(agent="sample", task="count to 2"))
        assert isinstance(taken, SpawnAccepted), taken
        states = (event.data.status for event in spawn_events(stream) if event.data.spawn_id == taken.spawn_id)
        ended = next(state for state in states if state in ENDED)
    assert ended == SpawnState.COMPLETED, ended
    found = read_spawn.sync(taken.spawn_id, client=client)
    assert isinstance(found, Spawn) and found.status == ended, found

    made = create_gateway.sync(client=client, body=NewGatewayBody(name="nobody of Python", host="127.0.0.1", port=1))
    assert isinstance(made, GatewayAnswer), made
    own = (told for told in notifications(int(port)) if told.gateway and told.gateway.name == made.gateway.name)
    down = next(own)
    assert down.kind == NotificationKind.DOWN and down.gateway.error.code, down
    gone = delete_gateway_by_path.sync(made.gateway.id, client=client)
    assert isinstance(gone, Deleted) and gone.deleted, gone
    end = next(own)
    assert end.kind == NotificationKind.RECOVERED and end.removed and end.episode == down.episode, end


if __name__ == "__main__":
    main(*sys.argv[1:])
