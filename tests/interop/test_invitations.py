"""What `gateway-ctl client` prints for a stock client behind a relay listener is run as it is."""

import pytest
from netns.test_chains import relay_server
from netns.test_invitations import ONE, RELAY, SERVER, page, words_of, written
from networks import reaches
from programs import wait_for


@pytest.mark.parametrize("form", ["words", "file"])
def test_a_stock_client_comes_in(stock, form):
    net = stock(1)
    server = relay_server(net, RELAY.format("wss"))
    text, _ = page(server, ONE, "--host", "1.2.3.4")
    host = net.lab.clients[0]
    words = words_of(text, "gost")
    host.spawn("gost", *(["-C", str(written(net, text))] if form == "file" else words))
    reaches(host, SERVER)
    wait_for(lambda: server.peer(ONE).get("carrier") == "wss", 5.0, "the peer by its carrier")
