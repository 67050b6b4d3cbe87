// Why an exchange failed, was retried or timed out: the words of logs and metrics.

/// The cause of a local error or a broken exchange; RFC 9209 §2.3's error types where they fit.
enum ErrorReason: UInt8, CaseIterable, BitwiseCopyable, Sendable {
    case none
    // Of the upstream side, by RFC 9209's names.
    case dnsTimeout, dnsError, destinationNotFound, destinationUnavailable
    case destinationUnroutable, connectionRefused, connectionTerminated, connectionTimeout
    case connectionReadTimeout, connectionWriteTimeout, connectionLimitReached
    case tlsProtocolError, tlsCertificateError, tlsAlertReceived
    case responseIncomplete, responseHeadSize, responseBodySize, responseTrailerSize
    case responseTransferCoding, responseTimeout, upgradeFailed, protocolError
    case internalError, configurationError, loopDetected
    // Of the client's request.
    case requestError, requestDenied, idMissing, idDuplicate, idMalformed, noRoute, misdirected
    case requestHeadSize, requestTargetSize, requestBodySize, requestTransferCoding
    case requestTimeout, requestRate
    // Of the proxy's own state.
    case queueFull, queueTimeout, nameRate, circuitOpen, draining, outOfMemory
    // Of the client's connection; never answered, only logged.
    case clientGone, clientTimeout

    /// The snake-case word in logs, metrics and Proxy-Status.
    var name: StaticString {
        switch self {
        case .none: "none"
        case .dnsTimeout: "dns_timeout"
        case .dnsError: "dns_error"
        case .destinationNotFound: "destination_not_found"
        case .destinationUnavailable: "destination_unavailable"
        case .destinationUnroutable: "destination_ip_unroutable"
        case .connectionRefused: "connection_refused"
        case .connectionTerminated: "connection_terminated"
        case .connectionTimeout: "connection_timeout"
        case .connectionReadTimeout: "connection_read_timeout"
        case .connectionWriteTimeout: "connection_write_timeout"
        case .connectionLimitReached: "connection_limit_reached"
        case .tlsProtocolError: "tls_protocol_error"
        case .tlsCertificateError: "tls_certificate_error"
        case .tlsAlertReceived: "tls_alert_received"
        case .responseIncomplete: "http_response_incomplete"
        case .responseHeadSize: "http_response_header_section_size"
        case .responseBodySize: "http_response_body_size"
        case .responseTrailerSize: "http_response_trailer_section_size"
        case .responseTransferCoding: "http_response_transfer_coding"
        case .responseTimeout: "http_response_timeout"
        case .upgradeFailed: "http_upgrade_failed"
        case .protocolError: "http_protocol_error"
        case .internalError: "proxy_internal_error"
        case .configurationError: "proxy_configuration_error"
        case .loopDetected: "proxy_loop_detected"
        case .requestError: "http_request_error"
        case .requestDenied: "http_request_denied"
        case .idMissing: "id_missing"
        case .idDuplicate: "id_duplicate"
        case .idMalformed: "id_malformed"
        case .noRoute: "no_route"
        case .misdirected: "misdirected_request"
        case .requestHeadSize: "request_head_size"
        case .requestTargetSize: "request_target_size"
        case .requestBodySize: "request_body_size"
        case .requestTransferCoding: "request_transfer_coding"
        case .requestTimeout: "request_timeout"
        case .requestRate: "request_rate"
        case .queueFull: "queue_full"
        case .queueTimeout: "queue_timeout"
        case .circuitOpen: "circuit_open"
        case .nameRate: "name_rate"
        case .draining: "draining"
        case .outOfMemory: "out_of_memory"
        case .clientGone: "client_gone"
        case .clientTimeout: "client_timeout"
        }
    }
}

extension ErrorReason {
    /// The error type in Proxy-Status: a registered one (RFC 9209 §2.3) for each cause.
    var proxyStatusName: StaticString {
        switch self {
        case .idMissing, .idDuplicate, .idMalformed, .noRoute, .misdirected, .requestHeadSize,
            .requestTargetSize, .requestBodySize, .requestTransferCoding, .requestTimeout,
            .clientGone, .clientTimeout:
            "http_request_error"
        case .requestRate: "http_request_denied"
        case .queueFull, .queueTimeout: "connection_limit_reached"
        case .circuitOpen, .nameRate: "destination_unavailable"
        case .draining, .outOfMemory, .none: "proxy_internal_response"
        default: name
        }
    }
}

/// Why a request could safely be sent once more (RFC 9110 §9.2.2, RFC 9113 §8.7).
enum RetryVerdict: UInt8, CaseIterable, BitwiseCopyable, Sendable {
    case none
    /// It could have been, but the host's retry budget was spent.
    case overBudget
    case unsent, refusedStream, goawayAboveLast, reusedAndNoBytesAndIdempotent
    case noBytesAndIdempotent

    var name: StaticString {
        switch self {
        case .none: "none"
        case .overBudget: "over_budget"
        case .unsent: "unsent"
        case .refusedStream: "refused_stream"
        case .goawayAboveLast: "goaway_above_last"
        case .reusedAndNoBytesAndIdempotent: "reused_and_no_bytes_and_idempotent"
        case .noBytesAndIdempotent: "no_bytes_and_idempotent"
        }
    }
}

/// Why a connection of a client was closed as soon as it was accepted.
enum ConnectionRefusal: UInt8, Error, CaseIterable, BitwiseCopyable, Sendable {
    /// `max_connections`, `max_connections_per_address`, `handshakes_per_second_per_address`,
    /// `max_memory`.
    case limit, addressLimit, handshakeRate, memory

    var name: StaticString {
        switch self {
        case .limit: "limit"
        case .addressLimit: "address_limit"
        case .handshakeRate: "handshake_rate"
        case .memory: "memory"
        }
    }
}

/// The deadline that passed.
enum TimeoutKind: UInt8, CaseIterable, BitwiseCopyable, Sendable {
    case handshake, head, body, write, idle
    case queue, resolve, dial, upstreamHandshake, response, upstreamIdle, upstreamPing

    var name: StaticString {
        switch self {
        case .handshake: "handshake"
        case .head: "head"
        case .body: "body"
        case .write: "write"
        case .idle: "idle"
        case .queue: "queue"
        case .resolve: "resolve"
        case .dial: "dial"
        case .upstreamHandshake: "upstream_handshake"
        case .response: "response"
        case .upstreamIdle: "upstream_idle"
        case .upstreamPing: "upstream_ping"
        }
    }
}

/// Everything that is opened and must be closed again: one row of the leak ledger each.
enum LedgerKind: Int, CaseIterable, BitwiseCopyable, Sendable {
    case frontSocket, upstreamSocket, frontTLS, upstreamTLS, frontHTTP2, upstreamHTTP2
    /// Requests that HTTP/2 brought; requests given to HTTP/2 connections.
    case frontStream, upstreamStream
    case exchange, hostClient, waiter, timer, resolverQuery

    var name: StaticString {
        switch self {
        case .frontSocket: "front_socket"
        case .upstreamSocket: "upstream_socket"
        case .frontTLS: "front_tls"
        case .upstreamTLS: "upstream_tls"
        case .frontHTTP2: "front_http2"
        case .upstreamHTTP2: "upstream_http2"
        case .frontStream: "front_stream"
        case .upstreamStream: "upstream_stream"
        case .exchange: "exchange"
        case .hostClient: "host_client"
        case .waiter: "waiter"
        case .timer: "timer"
        case .resolverQuery: "resolver_query"
        }
    }
}
