/* The closed lists that compiled and interpreted code share (I14).
 * gateway/protocol/forwarding.py has the same names and numbers; a test compares.
 * Append only. */
#ifndef GATEWAY_NAMES_H
#define GATEWAY_NAMES_H

#define REASONS(X)                                                                                 \
    X(EMPTY, "empty")                                                                              \
    X(TRUNCATED, "truncated")                                                                      \
    X(TOO_SHORT, "too_short")                                                                      \
    X(NOT_IP, "not_ip")                                                                            \
    X(BAD_LENGTH, "bad_length")                                                                    \
    X(BAD_CONTROL, "bad_control")                                                                  \
    X(UNKNOWN_ENDPOINT, "unknown_endpoint")                                                        \
    X(UNROUTABLE_SOURCE, "unroutable_source")                                                      \
    X(SPOOFED_SOURCE, "spoofed_source")                                                            \
    X(NO_PEER, "no_peer")                                                                          \
    X(SAME_PEER, "same_peer")                                                                      \
    X(NO_ROUTE, "no_route")                                                                        \
    X(PUNT_LIMITED, "punt_limited")                                                                \
    X(BAD_OFFLOAD, "bad_offload")                                                                  \
    X(RING_FULL, "ring_full")                                                                      \
    X(STALE_PEER, "stale_peer")                                                                    \
    X(SEND_FULL, "send_full")                                                                      \
    X(SEND_REFUSED, "send_refused")                                                                \
    X(SEND_ERROR, "send_error")                                                                    \
    X(TUN_DOWN, "tun_down")                                                                        \
    X(TUN_FULL, "tun_full")                                                                        \
    X(TUN_ERROR, "tun_error")                                                                      \
    X(TOO_BIG, "too_big")

enum reason {
#define REASON_ENUM(name, text) REASON_##name,
    REASONS(REASON_ENUM)
#undef REASON_ENUM
    REASON_COUNT
};

enum verdict { VERDICT_DELIVER, VERDICT_FORWARD, VERDICT_PUNT, VERDICT_DROP };
enum role { ROLE_SERVER, ROLE_CLIENT, ROLE_POINT }; /* POINT: a server of one peer */

/* Targets of a route below the peers' slots. */
enum { TARGET_LOCAL = -1, TARGET_VOID = -2, TARGET_NOTHING = -3 };

/* Counters of a page. The two sides of a worker (UDP in, ring out) drop apart,
 * so that each side's sum is exact; the reader uses the first of the two. */
#define COUNTERS(X)                                                                                \
    X(UDP_RECEIVED_PACKETS, "udp_received_packets")                                                \
    X(UDP_RECEIVED_BYTES, "udp_received_bytes")                                                    \
    X(DELIVERED_PACKETS, "delivered_packets")                                                      \
    X(DELIVERED_BYTES, "delivered_bytes")                                                          \
    X(FORWARDED_PACKETS, "forwarded_packets")                                                      \
    X(FORWARDED_BYTES, "forwarded_bytes")                                                          \
    X(PUNTED_PACKETS, "punted_packets")                                                            \
    X(TUN_READ_PACKETS, "tun_read_packets")                                                        \
    X(TUN_READ_BYTES, "tun_read_bytes")                                                            \
    X(QUEUED_PACKETS, "queued_packets")                                                            \
    X(QUEUED_BYTES, "queued_bytes")                                                                \
    X(RING_PACKETS, "ring_packets")                                                                \
    X(RING_BYTES, "ring_bytes")                                                                    \
    X(SENT_PACKETS, "sent_packets")                                                                \
    X(SENT_BYTES, "sent_bytes")                                                                    \
    X(TURNS, "turns")                                                                              \
    X(RECEIVE_BURSTS, "receive_bursts")                                                            \
    X(SEND_BURSTS, "send_bursts")                                                                  \
    X(TUN_WRITES, "tun_writes")                                                                    \
    X(TUN_READS, "tun_reads")                                                                      \
    X(GSO_FALLBACKS, "gso_fallbacks")                                                              \
    X(MERGE_FALLBACKS, "merge_fallbacks")                                                          \
    X(SOCKET_ERRORS, "socket_errors")                                                              \
    X(ANSWERED_PACKETS, "answered_packets")

enum counter {
#define COUNTER_ENUM(name, text) COUNTER_##name,
    COUNTERS(COUNTER_ENUM)
#undef COUNTER_ENUM
    COUNTER_DROP,
    COUNTER_RING_DROP = COUNTER_DROP + REASON_COUNT,
    COUNTER_COUNT = COUNTER_RING_DROP + REASON_COUNT
};

enum peer_counter {
    PEER_RX_PACKETS,
    PEER_RX_BYTES,
    PEER_TX_PACKETS,
    PEER_TX_BYTES,
    PEER_TX_DROPPED,
    PEER_SINGLE_SENDS, /* 1 while this writer sends to the peer without UDP_SEGMENT */
    PEER_COUNTERS = 8  /* a row is one cache line */
};

#endif
