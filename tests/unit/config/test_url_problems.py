"""-L URLs: what is said about wrong ones."""

import pytest

from gateway.config.options import OPTIONS

SERVER = "tun://:8421?net=192.168.123.1/24"
CLIENT = "tun://:0/1.2.3.4:8421?net=192.168.123.2/24"
UNSUPPORTED = (
    "not supported by this program: leave it out, or run the rest with --ignore-unsupported"
)
AUTO = "has no scheme (a tunnel begins with tun://), a proxy (auto) in GOST"
FIRST = "no '?' in the URL: the first option stands behind a '?', not a '&'"
BEHIND = "the first option stands behind a '?', not a '&'"
PERCENT = "a '%' must be written %25 in a URL"
SWAPPED = "no port behind the @: user and password stand before the @, HOST:PORT behind it"
OWN = "address: write an IP address of this host, or only :PORT for all"
ZONE = (
    "is link-local and has no device: write for example [fe80::1%eth0]:8421, with %25 for % in a "
    "URL"
)
NAMES = ", ".join(option.name for option in OPTIONS if option.standing == "used")


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("", 'an empty URL: write for example "tun://:8421?net=192.168.123.1/24"'),
        (
            ":8421?net=a",
            'no scheme in the URL: write for example "tun://:8421?net=192.168.123.1/24"',
        ),
        ("u:geheim@:8080/", f'":8080" {AUTO}: {UNSUPPORTED}'),
        (":8421", f'":8421" {AUTO}: {UNSUPPORTED}'),
        ("tun", 'no scheme in the URL: write for example "tun://:8421?net=192.168.123.1/24"'),
        ("tun:8421", 'no scheme in the URL: write for example "tun://:8421?net=192.168.123.1/24"'),
        ("tun://:8421&net=10.0.0.1/24", FIRST),
        ("tun://:0/hub:8421&net=10.0.0.1/24", FIRST),
        ("relay+tls://:443&allow=hub:1", FIRST),
        ("'tun://:8421'", "the URL begins with a quote: leave out the quotes around it"),
        (f"{SERVER}&=x", "an option without a name: write NAME=VALUE"),
        ("tun://:8421?net:10.0.0.1/24", "unknown option net:...: write net=VALUE"),
        (f"{CLIENT}&passphrase%3dgeheim", "unknown option passphrase=...: write passphrase=VALUE"),
        (f"{CLIENT}&tun.token%3agEhEiM", "unknown option tun.token:...: write tun.token=VALUE"),
        (f"{CLIENT}&passphrase-SECRET=1", "unknown option passphrase...: did you mean passphrase?"),
        (f"{CLIENT}&listener.TokenSECRET=1", "unknown option Token...: did you mean token?"),
        (f"{CLIENT}&passphrase-SECRET=%", f"passphrase...: {PERCENT}"),
        (f"{CLIENT}&auth%3dgEhEiM", f"unknown option auth=...: there are {NAMES}"),
        ("tun://:8421&passphrase-geheim=1", FIRST),
        ("tun://:8421&passphrase%3dgeheim", FIRST),
        ("tun://:8421&token-geheim=1?net=10.0.0.1/24", f"an '&' before the '?': {BEHIND}"),
        ("tun://:8421@gEhEiM?net=10.0.0.1/24", SWAPPED),
        ("tun://1.2.3.4:8421@10.0.0.2:gEhEiM?net=10.0.0.1/24", SWAPPED),
        ("tun://[fd00::1]:8421-8423@gEhEiM/?net=10.0.0.1/24", SWAPPED),
        ("relay+wss://hub:443@u:gEhEiM", SWAPPED),
        ("relay+wss://:443@gEhEiM/hub:1", SWAPPED),
        (":8421@gEhEiM", f"the URL {AUTO}: {UNSUPPORTED}"),
        ("u:gEh/EiM@hub:8080", f'"hub:8080" {AUTO}: {UNSUPPORTED}'),
        ("tun://:8421?net=,", 'net: "," has no address: write for example 192.168.123.1/24'),
        ("tun://0/hub:1?net=10.0.0.1/24", 'addr: "0" has no colon before the port: write :0'),
        (
            "tun://:0/hub:1;hub:2?net=10.0.0.1/24",
            (
                'target: "hub:1;hub:2" is not HOST:PORT: write HOST:PORT, and a comma between '
                "several"
            ),
        ),
        (
            "tun://:0/tun://hub:1?net=10.0.0.1/24",
            "target: \"tun://hub:1\" has a '/' in it: write only HOST:PORT",
        ),
        (
            "tun://10.0.0.1:1?net=10.0.0.1/24",
            (
                "addr: 10.0.0.1 is the address in net: nobody can reach it there: write :PORT, or "
                "an outer address"
            ),
        ),
        ("tun://224.0.0.1:1?net=10.0.0.1/24", f'addr: "224.0.0.1:1" has a multicast {OWN}'),
        ("tun://[ff02::1]:1?net=10.0.0.1/24", f'addr: "[ff02::1]:1" has a multicast {OWN}'),
        (
            "tun://255.255.255.255:1?net=10.0.0.1/24",
            f'addr: "255.255.255.255:1" has a broadcast {OWN}',
        ),
        ("tun://[fe80::1]:1?net=10.0.0.1/24", f'addr: "[fe80::1]:1" {ZONE}'),
        ("tun://:0/[fe80::1]:1?net=10.0.0.1/24", f'target: "[fe80::1]:1" {ZONE}'),
        ("relay", 'no scheme in the URL: write for example "relay+wss://:443"'),
        ("relay:443", 'no scheme in the URL: write for example "relay+wss://:443"'),
        ("relay+wss:443", 'no scheme in the URL: write for example "relay+wss://:443"'),
        ("tun://8421?net=10.0.0.1/24", 'addr: "8421" has no colon before the port: write :8421'),
        ("tun://:0/8421?net=10.0.0.1/24", 'target: "8421" has no host: write HOST:8421'),
        (
            "tun://:0/0:8421?net=10.0.0.1/24",
            (
                'target: "0:8421" holds neither an IP address nor a host name: write for example '
                "203.0.113.1:8421"
            ),
        ),
        ("tun://:8421?net=192.168.123.1/24%zz", "net: a '%' must be written %25 in a URL"),
        (
            "tun://:8421?listener.tun.net=192.168.123.1/24%zz",
            "listener.tun.net: a '%' must be written %25 in a URL",
        ),
        ("://:1", 'no scheme in the URL: write for example "tun://:8421?net=192.168.123.1/24"'),
        ("tunn://:1", 'unknown scheme "tunn": did you mean tun?'),
        ("relai+wss://:443", 'unknown scheme "relai+wss": did you mean relay+wss?'),
        ("tungo://:1", f'a service of "tungo": {UNSUPPORTED}'),
        ("tap://:1", f'a service of "tap": {UNSUPPORTED}'),
        ("socks5://:1080", f'a service of "socks5": {UNSUPPORTED}'),
        ("wss://:443", f'a service of "wss": {UNSUPPORTED}'),
        (f"{CLIENT}#x", "a '#' must be written %23 in a URL"),
        (f"{CLIENT}&token=%zz", "token: a '%' must be written %25 in a URL"),
        (f"{CLIENT}&token=%ff", "token: its bytes are not UTF-8"),
        (f"{CLIENT}&token=a%00", "token: must not contain NUL characters"),
        (f"{CLIENT}&mtu=1400&MTU=1400", "MTU: given twice"),
        (f"{CLIENT}&token=a&passphrase=b", "passphrase: given twice, with another value before"),
        (f"{CLIENT}&keepAlvie=true", "unknown option keepAlvie: did you mean keepAlive?"),
        (f"{CLIENT}&xyzzy=1", f"unknown option xyzzy: there are {NAMES}"),
        (f"{CLIENT}&keepAlive=yes", 'keepAlive: "yes" is not a boolean: write true or false'),
        (f"{CLIENT}&keepAlive", 'keepAlive: "" is not a boolean: write true or false'),
        (f"{CLIENT}&ttl=ten", 'ttl: "ten" is not a duration: write for example 10s or 1m30s'),
        (f"{CLIENT}&ttl=25h", 'ttl: "25h" is too long: write 100ms to 24h, for example 10s'),
        (f"{CLIENT}&ttl=1ns", 'ttl: "1ns" is too short: write 100ms to 24h, for example 10s'),
        (f"{CLIENT}&ttl=99ms", 'ttl: "99ms" is too short: write 100ms to 24h, for example 10s'),
        (
            f"{CLIENT}&mtu=100",
            'mtu: "100" is out of range: write a whole number from 576 to 65507',
        ),
        (
            f"{CLIENT}&name=a/b",
            "name: \"a/b\" is not a device name: write up to 15 letters, digits, '-', '_' or '.'",
        ),
        (f"{CLIENT}&offload=of", 'offload: "of" is none of auto, on, off'),
        (f"{CLIENT}&gw=gw", 'gw: "gw" is not an IP address: write the address of a peer'),
        (f"{CLIENT}&user=a%20b", 'user: "a b" is not a user\'s name'),
        (
            f"{SERVER}&workers=65",
            'workers: "65" is out of range: write a whole number from 1 to 64, or auto',
        ),
        (f"{SERVER}&sourceCheck=no", 'sourceCheck: "no" is not a switch: write on or off'),
        (
            f"{CLIENT}&route=10.1.0.0/16&gw=192.168.123.9/24",
            'gw: "192.168.123.9/24" is not an IP address alone: leave out the length',
        ),
        (
            f"{CLIENT}&dns=8.8.8.8:53",
            'dns: "8.8.8.8:53" is not an IP address alone: leave out the port',
        ),
        (f"{CLIENT}&dns=[::1]", 'dns: "[::1]" is not an IP address alone: leave out the brackets'),
        (f"{CLIENT}&dns=0.0.0.0", 'dns: "0.0.0.0" is no name server\'s address: write its own'),
        (
            f"{CLIENT}&route=127.0.0.0/9",
            'route: "127.0.0.0/9" never leaves this host: leave it out',
        ),
        (f"{CLIENT}&routes=::1/128", 'routes: "::1/128" never leaves this host: leave it out'),
        (
            f"{CLIENT}&maxFails=x",
            'selector.maxFails: "x" is not a whole number: write for example 3',
        ),
        (f"{CLIENT}&name=", "name: has no value: write one, or leave it out"),
        (f"{CLIENT}&password=x", "unknown option password: did you mean passphrase?"),
        (
            f"{CLIENT}&chain=x",
            ("chain: is no option: give its hops by -F, or name it in a file, as a key of handler"),
        ),
        (
            f"{CLIENT}&tun.dns=1.1.1.1,x",
            'tun.dns: "x" is not an IP address: write the address of a name server',
        ),
        (
            f"{CLIENT}&ttl=10000000000",
            'ttl: "10000000000" is too long a duration: write for example 10s',
        ),
        (
            f"{CLIENT}&so_mark=-5",
            'so_mark: "-5" is out of range: write a whole number from 0 to 4294967295',
        ),
        (
            f"{CLIENT}&netns.out=a/b",
            (
                'netns.out: "a/b" is no network namespace: write a name under /run/netns, or a '
                "path from / on"
            ),
        ),
        (f"{CLIENT}&preUp=%20", "preUp: an empty command"),
        (
            f"{CLIENT}&strategy=rond",
            'selector.strategy: "rond" is no strategy: did you mean round?',
        ),
        (
            f"{CLIENT}&failTimeout=ten",
            ('selector.failTimeout: "ten" is not a duration: write for example 10s or 1m30s'),
        ),
        (
            f"{SERVER}&router=x",
            'router: there is no router "x" in routers (there is none)',
        ),
        (f"{CLIENT}&limiter.in=1MB", f"limiter.in: {UNSUPPORTED}"),
        (
            f"{CLIENT}&route=1.2.3.4/32",
            (
                "route: 1.2.3.4/32 is the target 1.2.3.4: the server cannot be reached through "
                "its own tunnel"
            ),
        ),
        (
            f"{SERVER}&route=0.0.0.0/0",
            ('route: "0.0.0.0/0" on a server: name a gateway, the peer that shall have it'),
        ),
        (
            f"{CLIENT}&advertise=auto,192.168.100.0/24",
            "advertise: write auto, off or networks, not several of these",
        ),
        (
            f"{CLIENT}&advertise=10.0.0.0/8",
            'advertise: "10.0.0.0/8" is wider than /16: no server takes it up',
        ),
        (
            f"{CLIENT}&advertise=127.0.1.0/24",
            'advertise: "127.0.1.0/24" cannot be reached from afar',
        ),
        (
            f"{CLIENT}&advertise=192.168.0.0/16",
            'advertise: "192.168.0.0/16" overlaps the tunnel network 192.168.123.0/24',
        ),
        (
            f"{CLIENT}&advertise=" + ",".join(f"10.{n}.0.0/16" for n in range(17)),
            "advertise: 17 networks are too many: 16",
        ),
        (
            f"{SERVER}&accept=some",
            (
                'accept: "some" has no length: write ADDRESS/LENGTH, for example '
                "192.168.100.0/24, or auto, or off"
            ),
        ),
        (
            f"{CLIENT}&route=10.1.0.0/16&routes=10.1.0.0/16%20192.168.123.9",
            "routes: 10.1.0.0/16 is there twice, with different gateways",
        ),
        (
            f"{CLIENT}&route=10.1.0.0/16&gw=10.9.9.9",
            'gw: "10.9.9.9" is not inside net: write an address of the tunnel network',
        ),
        (
            f"{CLIENT}&routes=10.1.0.0/16%20192.168.123.2",
            'routes: "192.168.123.2" is this host itself: write the address of a peer',
        ),
        (
            f"{CLIENT}&route=10.1.0.0/16&gw=192.168.123.255",
            (
                'gw: "192.168.123.255" is the network or its broadcast address: write the '
                "address of a peer"
            ),
        ),
        (
            "tun://:8421",
            (
                "net: missing: write this host's address in the tunnel, for example "
                "net=192.168.123.1/24"
            ),
        ),
        ("tun://:8421?nett=10.0.0.1/24", "unknown option nett: did you mean net?"),
        ("tun://:8421?net=", 'net: "" has no address: write for example 192.168.123.1/24'),
        (
            "tun://:8421?net=10.0.0.1",
            'net: "10.0.0.1" has no length: write ADDRESS/LENGTH, for example 192.168.123.1/24',
        ),
        ("tun://:8421?net=10.0.0.1/24,10.0.0.1/16", "net: 10.0.0.1 is there twice: leave one out"),
        (
            "tun://:8421?net=10.0.0.1/24,10.0.0.2/24",
            "net: 10.0.0.2/24 and 10.0.0.1/24 are in one network: leave one out",
        ),
        (
            "tun://:8421?net=fd00::1/64&mtu=1200",
            "mtu: 1200 is too small: IPv6 in net needs 1280 or more",
        ),
        (
            "tun://:0?net=10.0.0.1/24",
            (
                'addr: ":0" has port 0: a server needs one, for example :8421 (and a client '
                "needs a target)"
            ),
        ),
        (
            "tun://?net=10.0.0.1/24",
            (
                'addr: "" has no port: a server needs one, for example :8421 (and a client '
                "needs a target)"
            ),
        ),
        (
            "tun://hub:8421?net=10.0.0.1/24",
            (
                'addr: "hub:8421" is a name to listen on: write an IP address of this host, or '
                "only :PORT for all"
            ),
        ),
        (
            "tun://:8421-8423?net=10.0.0.1/24",
            "net: 10.0.0.1/24 overlaps 10.0.0.1/24 of another service: change one",
        ),
        (
            "tun://:8423-8421?net=10.0.0.1/24",
            '":8423-8421" is no range of ports: write for example 8421-8423',
        ),
        (
            "tun://:0/hub:1-257?net=10.0.0.1/24",
            '"hub:1-257" has more than 256 ports',
        ),
        (
            "tun://:0/10.0.0.9:1?net=10.0.0.1/24",
            (
                "net: 10.0.0.1/24 has the target 10.0.0.9 in it: the server cannot be reached "
                "through its own tunnel"
            ),
        ),
        (
            "tun://:99999?net=10.0.0.1/24",
            'addr: ":99999" has no good port: write a number from 1 to 65535',
        ),
        (
            "tun://:0/hub?net=10.0.0.1/24",
            'target: "hub" has no port: write the server\'s HOST:PORT',
        ),
        (
            "tun://:0/:8421?net=10.0.0.1/24",
            'target: ":8421" has no host: write the server\'s HOST:PORT',
        ),
        (
            "tun://:0/2001:db8::1:8421?net=10.0.0.1/24",
            'target: "2001:db8::1:8421" is not HOST:PORT: an IPv6 address stands in brackets',
        ),
        (
            "tun://bob:x@:8421?net=10.0.0.1/24",
            'username: "bob" is not an IP address: write the client\'s address in the tunnel',
        ),
        (
            "tun://10.0.0.2@:8421?net=10.0.0.1/24",
            "password: the password of 10.0.0.2 is empty: nobody could use it",
        ),
        (
            "tun://10.0.0.1:x@:8421?net=10.0.0.1/24",
            "username: 10.0.0.1 is the server's own address",
        ),
        (f"{SERVER}&auth=xyz", "auth: expected the base64 of USER:PASSWORD"),
    ],
)
def test_one_problem_one_line(problems, url, line):
    assert problems(url) == [f"-L #1: {line}"]


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("0.0.0.0", "an unspecified"),
        ("[::]", "an unspecified"),
        ("[::ffff:0.0.0.0]", "an unspecified"),
        ("224.0.0.1", "a multicast"),
        ("[ff02::1]", "a multicast"),
        ("255.255.255.255", "a broadcast"),
    ],
)
def test_who_cannot_be_reached_is_no_target(problems, host, kind):
    line = f'target: "{host}:8421" has {kind} address: write the server\'s own'
    assert problems(f"tun://:0/{host}:8421?net=10.0.0.1/24") == [f"-L #1: {line}"]
    assert problems(f"tun://:0/hub:1,{host}:8421?net=10.0.0.1/24") == [f"-L #1: {line}"]


def test_all_problems_are_told(problems):
    assert problems(f"{SERVER}&mtu=x&ttl=y", "tunn://", "tun://:0?net=10.0.0.0/24") == [
        '-L #2: unknown scheme "tunn": did you mean tun?',
        '-L #1: mtu: "x" is not a whole number: write a whole number from 576 to 65507',
        '-L #1: ttl: "y" is not a duration: write for example 10s or 1m30s',
        (
            '-L #3: addr: ":0" has port 0: a server needs one, for example :8421 (and a client '
            "needs a target)"
        ),
        (
            '-L #3: net: "10.0.0.0/24" is the network itself: write this host\'s address in it, '
            "for example 10.0.0.1/24"
        ),
    ]


def test_a_secret_is_in_no_message(problems):
    for url in (
        f"{CLIENT}&token=geheim%",
        f"{CLIENT}&token=geheim&passphrase=geheim2",
        f"{CLIENT}&token=geheim%00",
        "tun://10.0.0.2:geheim%@:8421?net=10.0.0.1/24",
        "tun://x:geheim@:8421?net=10.0.0.1/24",
        "tun://10.0.0.2:geheim/x@:8421?net=10.0.0.1/24",
        "tun://10.0.0.2:geheim?x@:8421?net=10.0.0.1/24",
        "tun://10.0.0.2:x/geheim@:8421?net=10.0.0.1/24",
        "tun://10.0.0.2:x?geheim@:8421?net=10.0.0.1/24",
        "tun://:0/x:geheim@hub:8421?net=10.0.0.1/24",
        "tun://:0/x:geheim%40hub:8421?net=10.0.0.1/24",
        "relay+tls://x:geheim/x@:443",
        "relay+tls://x:y?geheim@:443",
    ):
        assert problems(url)
        assert not any("geheim" in line for line in problems(url))


@pytest.mark.parametrize("name", [o.name for o in OPTIONS if o.standing == "foreign"])
def test_what_is_refused_is_refused_everywhere(problems, name):
    for prefix in ("", "handler.", "listener.", "service."):
        (line,) = problems(f"{CLIENT}&{prefix}{name}=x")
        assert line == f"-L #1: {name}: {UNSUPPORTED}"
