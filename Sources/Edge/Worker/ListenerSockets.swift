// Listening sockets: opened by the control plane, one per listener and worker.

/// The sockets of all listeners that are open, by the listener's name.
struct ListenerSockets {
    struct Bound {
        /// One descriptor for each worker.
        var descriptors: [Int32]
        /// Where it really listens, port included.
        var address: String
        var path: String?
    }

    private(set) var open: [String: Bound] = [:]
    private let backlog: Int32 = 4096

    /// Opens a listener for each of `workers`; its sockets share one address.
    mutating func bind(
        _ name: String, _ address: ListenAddress, workers: Int
    ) throws(StartFailure) -> Bound {
        do throws(SystemFailure) {
            let bound =
                switch address {
                case .unix(let path): try bindUnix(path, workers: workers)
                case .any(let port):
                    try bindAny(port, workers: workers)
                case .ip(let literal, let port):
                    try bind(Self.address(literal, port), workers: workers, dualStack: false)
                }
            open[name] = bound
            // Until the workers have them, nobody else answers for them.
            bound.descriptors.forEach(KnownDescriptors.add)
            return bound
        } catch {
            throw StartFailure("cannot listen on \(address.text): \(error)")
        }
    }

    /// All addresses of both families; of IPv4 alone where the machine has no IPv6.
    private func bindAny(_ port: UInt16, workers: Int) throws(SystemFailure) -> Bound {
        do throws(SystemFailure) {
            guard let any = SocketAddress(numeric: "::", port: port) else {
                throw SystemFailure(code: 97, call: "socket")
            }
            return try bind(any, workers: workers, dualStack: true)
        } catch {
            guard error.code == 97, let any = SocketAddress(numeric: "0.0.0.0", port: port) else {
                throw error
            }
            return try bind(any, workers: workers, dualStack: false)
        }
    }

    private func bind(
        _ address: SocketAddress, workers: Int, dualStack: Bool
    ) throws(SystemFailure) -> Bound {
        var address = address
        var descriptors: [Int32] = []
        do throws(SystemFailure) {
            for _ in 0..<workers {
                let descriptor = try Socket.listen(
                    address, backlog: backlog, dualStack: dualStack)
                descriptors.append(descriptor)
                // Port 0: the first socket chooses, the others follow.
                address.port = try Socket.localAddress(descriptor).port
            }
        } catch {
            descriptors.forEach(Socket.close)
            throw error
        }
        return Bound(descriptors: descriptors, address: address.text)
    }

    private func bindUnix(_ path: String, workers: Int) throws(SystemFailure) -> Bound {
        let first = try Socket.listen(unix: path, backlog: backlog)
        var descriptors = [first]
        // One kernel queue; every worker polls a descriptor of its own.
        do throws(SystemFailure) {
            for _ in 1..<max(workers, 1) { descriptors.append(try Socket.duplicate(first)) }
        } catch {
            descriptors.forEach(Socket.close)
            Socket.removeSocketFile(path)
            throw error
        }
        return Bound(descriptors: descriptors, address: "unix:\(path)", path: path)
    }

    private static func address(_ literal: AddressLiteral, _ port: UInt16) -> SocketAddress {
        var bytes = [UInt8]()
        if literal.isIPv4 {
            for shift in [24, 16, 8, 0] {
                bytes.append(UInt8(truncatingIfNeeded: literal.low >> shift))
            }
        } else {
            for word in [literal.high, literal.low] {
                for shift in stride(from: 56, through: 0, by: -8) {
                    bytes.append(UInt8(truncatingIfNeeded: word >> UInt64(shift)))
                }
            }
        }
        return bytes.withBytes { SocketAddress(bytes: $0, port: port) } ?? .unix
    }

    /// Closes a listener that was opened and is not going to be used.
    mutating func discard(_ name: String) {
        guard let bound = open.removeValue(forKey: name) else { return }
        bound.descriptors.forEach(KnownDescriptors.remove)
        bound.descriptors.forEach(Socket.close)
        if let path = bound.path { Socket.removeSocketFile(path) }
    }

    /// All that is open was given to the workers, which answer for it from now on.
    func handOver() {
        for bound in open.values { bound.descriptors.forEach(KnownDescriptors.remove) }
    }

    /// Forgets a listener whose sockets the workers close themselves.
    mutating func release(_ name: String) {
        guard let bound = open.removeValue(forKey: name) else { return }
        if let path = bound.path { Socket.removeSocketFile(path) }
    }
}

extension Configuration {
    /// Every listener, the admin's last, under a name that a reload finds again; several on port 0
    /// of one address are told apart by their order.
    var namedAddresses: [(name: String, address: ListenAddress)] {
        var seen: [String: Int] = [:]
        var named: [(name: String, address: ListenAddress)] = []
        for settings in listeners {
            let text = settings.address.text
            let count = seen[text, default: 0] + 1
            seen[text] = count
            named.append((count == 1 ? text : "\(text) #\(count)", settings.address))
        }
        if let admin { named.append(("admin \(admin.address.text)", admin.address)) }
        return named
    }
}
