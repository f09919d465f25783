"""GOST's options of a service that mean nothing here, or ask for what we do not do."""

from gateway.config.option import Option, stranger

STRANGERS: tuple[Option[str], ...] = (
    stranger("useless", "bufferSize", "GOST ignores it too."),
    stranger("useless", "guid", "It is for Windows."),
    stranger("useless", "peer", "It is for macOS."),
    stranger("useless", "enableStats", "Statistics are always kept."),
    stranger("useless", "labels", "Nothing reads them."),
    stranger("useless", "skipauth", "It never matches in GOST's TUN either."),
    stranger("useless", "hash", "A client is one source, whatever is hashed of it."),
    stranger("useless", "certFile", "A tunnel over UDP has no TLS.", ("cert", "tls.certFile")),
    stranger("useless", "keyFile", "A tunnel over UDP has no TLS.", ("key", "tls.keyFile")),
    stranger("useless", "caFile", "A tunnel over UDP has no TLS.", ("ca", "tls.caFile")),
    stranger("foreign", "retries", "It is for chains."),
    stranger("foreign", "dialTimeout", "It is for chains."),
    stranger("foreign", "ignoreChain", "It is for chains."),
    stranger("foreign", "admission"),
    stranger("foreign", "bypass"),
    stranger("foreign", "resolver"),
    stranger("foreign", "hosts"),
    stranger("foreign", "limiter.in"),
    stranger("foreign", "limiter.out"),
    stranger("foreign", "limiter.conn.in"),
    stranger("foreign", "limiter.conn.out"),
    stranger("foreign", "climiter"),
    stranger("foreign", "rlimiter"),
    stranger("foreign", "proxyProtocol"),
)
