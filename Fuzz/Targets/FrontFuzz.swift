// The whole worker between clients and services that send anything.

import Synchronization

@testable import Edge

/// One input: operations of a byte each, some with an operand and bytes behind them.
///
/// Bits 0…3 say what happens, bits 4 and 5 to which client or service, bit 7 that the worker gets
/// no turn after it (`FrontPlay.perform`).
enum FrontFuzz {
    private static let lock = Mutex<Void>(())
    // Safety: used under `lock` only.
    nonisolated(unsafe) private static var shared: FrontRig?

    static func run(_ bytes: [UInt8]) throws(FuzzFailure) {
        try lock.withLock { _ throws(FuzzFailure) in
            do {
                let rig = try unsafe shared ?? FrontRig()
                unsafe shared = rig
                let play = FrontPlay(rig)
                try play.perform(bytes)
                try play.end()
            } catch let failure as FuzzFailure {
                unsafe shared = nil
                throw failure
            } catch {
                throw FuzzFailure(what: "\(error)")
            }
        }
    }
}

/// The clients and services of one input.
private final class FrontPlay {
    private struct Client {
        var descriptor: Int32
        var isStalled = false
        /// Nothing was received yet, and nothing of HTTP/2 was sent.
        var speaksHTTP1 = true
        /// The first bytes that were sent, as many as a preface of HTTP/2 has.
        var first: [UInt8] = []
    }

    private struct Service {
        var descriptor: Int32
        var requests = RequestStream()
    }

    private let rig: FrontRig
    private var clients: [Client?] = [nil, nil, nil, nil]
    private var services: [Service] = []

    init(_ rig: FrontRig) { self.rig = rig }

    func perform(_ bytes: [UInt8]) throws(FuzzFailure) {
        var input = FuzzInput(bytes)
        var operations = 0
        while !input.isAtEnd, operations < 200 {
            operations += 1
            let operation = input.byte()
            let number = Int(operation >> 4 & 3)
            switch operation & 15 {
            case 0: send(number, FrontText.requests[Int(input.byte() & 15)])
            case 1: send(number, input.take(Int(input.byte())))
            case 2: sendFrames(number, FrameScript.next(&input, isRequest: true))
            case 3: sendFrames(number, FrameScript.preface + FrameScript.frame(4))
            case 4: for _ in 0..<2 { try turn() }
            case 5:
                let which = Int(input.byte() & 15)
                let mayUpgrade = which == FrontText.upgrade
                answer(number, FrontText.responses[which], mayUpgrade: mayUpgrade)
            case 6: answer(number, input.take(Int(input.byte())), mayUpgrade: true)
            case 7: answer(number, FrameScript.next(&input, isRequest: false), mayUpgrade: true)
            case 8: answer(number, FrameScript.frame(4) + FrameScript.frame(4, flags: 1))
            case 9: closeService(number, input.byte())
            case 10: closeClient(number, input.byte())
            case 11: clients[number]?.isStalled.toggle()
            case 12: answer(number, [UInt8](repeating: 0x61, count: Int(input.byte()) * 1024))
            case 13: send(number, [UInt8](repeating: 0x61, count: Int(input.byte()) * 1024))
            case 14:
                closeClient(number, 1)
                open(number, listener: Int(input.byte() & 3))
            default: break
            }
            if operation & 0x80 == 0 { try turn() }
        }
    }

    // MARK: clients

    private func open(_ number: Int, listener: Int) {
        guard let descriptor = rig.connect(listener) else { return }
        clients[number] = Client(descriptor: descriptor)
    }

    private func send(_ number: Int, _ bytes: [UInt8]) {
        if clients[number] == nil { open(number, listener: 0) }
        guard let client = clients[number] else { return }
        // Text may be a preface, too, also in pieces.
        let first = client.first + bytes.prefix(FrameScript.preface.count - client.first.count)
        clients[number]?.first = first
        if first == FrameScript.preface { clients[number]?.speaksHTTP1 = false }
        // What does not fit is lost, as if the client had stopped in the middle.
        bytes.withBytes { _ = Socket.send(client.descriptor, $0) }
    }

    private func sendFrames(_ number: Int, _ bytes: [UInt8]) {
        if clients[number] == nil { open(number, listener: 0) }
        clients[number]?.speaksHTTP1 = false
        send(number, bytes)
    }

    private func closeClient(_ number: Int, _ way: UInt8) {
        guard let client = clients[number] else { return }
        if way & 1 == 0 { return Socket.shutdownWriting(client.descriptor) }
        Socket.close(client.descriptor)
        clients[number] = nil
    }

    // MARK: services

    private func answer(_ number: Int, _ bytes: [UInt8], mayUpgrade: Bool = false) {
        guard !services.isEmpty else { return }
        let place = number % services.count
        if mayUpgrade { services[place].requests.mayBeOther = true }
        bytes.withBytes { _ = Socket.send(services[place].descriptor, $0) }
    }

    private func closeService(_ number: Int, _ way: UInt8) {
        guard !services.isEmpty else { return }
        let place = number % services.count
        if way & 1 == 0 { return Socket.shutdownWriting(services[place].descriptor) }
        FrontRig.reset(services.remove(at: place).descriptor)
    }

    // MARK: time

    /// One turn of the worker, then what it sent is read at both ends.
    private func turn() throws(FuzzFailure) {
        rig.worker.turn(mayWait: false)
        rig.answerQuestions()
        while let descriptor = rig.accept() { services.append(Service(descriptor: descriptor)) }
        for place in services.indices {
            guard let bytes = FrontRig.drain(services[place].descriptor) else { continue }
            try services[place].requests.received(bytes)
        }
        for number in clients.indices {
            guard let client = clients[number], !client.isStalled else { continue }
            guard let bytes = FrontRig.drain(client.descriptor), !bytes.isEmpty else { continue }
            guard client.speaksHTTP1 else { continue }
            let isAnswer = bytes.withBytes { $0.hasPrefix(Bytes("HTTP/1.1 ").prefix($0.count)) }
            try require(isAnswer, "no answer: \(String(decoding: bytes, as: UTF8.self))")
            clients[number]?.speaksHTTP1 = false
        }
    }

    /// Everybody leaves; the worker must then be as empty as at its start.
    func end() throws(FuzzFailure) {
        for number in clients.indices { closeClient(number, 1) }
        // A request may be tried ten times, each a dial and its loss; and what waits for the kernel
        // or for a time to pass may take longer than so many turns.
        let patience = ContinuousClock.now + .seconds(5)
        var turns = 0
        while turns < 200 || ContinuousClock.now < patience {
            turns += 1
            try turn()
            for service in services { FrontRig.reset(service.descriptor) }
            services = []
            if rig.isAtRest { break }
        }
        try rig.checkIsEmpty()
    }
}

/// What a service of HTTP/1 reads: whole requests, one behind the other, whatever clients send.
private struct RequestStream {
    private var bytes: [UInt8] = []
    private var decoder: HTTP1BodyDecoder?
    /// HTTP/2, or a tunnel behind what may have been a 101.
    var mayBeOther = false
    private var isFresh = true

    mutating func received(_ more: [UInt8]) throws(FuzzFailure) {
        guard !more.isEmpty, !mayBeOther else { return }
        bytes += more
        if isFresh, bytes.starts(with: "PRI ".utf8) {
            mayBeOther = true
            return
        }
        isFresh = false
        var isComplete = true
        while isComplete, !bytes.isEmpty {
            do throws(MalformedMessage) {
                isComplete = decoder == nil ? try readHead() : try readContent()
            } catch {
                let text = String(decoding: bytes.prefix(2000), as: UTF8.self)
                throw FuzzFailure(what: "a service got: \(error.reason)\n\(text)")
            }
        }
    }

    private mutating func readHead() throws(MalformedMessage) -> Bool {
        let pool = Ref.allocate(BufferPool())
        defer { pool.destroy() }
        var head = Head(pool: pool)
        var scanned = 0
        let used = try bytes.withBytes { (bytes) throws(MalformedMessage) in
            try HTTP1RequestParser.parse(bytes, scanned: &scanned, into: &head, isSecure: false)
        }
        guard let used else { return false }
        bytes.removeFirst(used)
        decoder = HTTP1BodyDecoder(head.framing)
        if decoder?.isComplete == true { decoder = nil }
        return true
    }

    private mutating func readContent() throws(MalformedMessage) -> Bool {
        guard var decoder else { return true }
        var consumed = 0
        try bytes.withBytes { (bytes) throws(MalformedMessage) in
            while !decoder.isComplete {
                if case .needsMore = try decoder.decode(bytes, consumed: &consumed) { return }
            }
        }
        bytes.removeFirst(consumed)
        self.decoder = decoder.isComplete ? nil : decoder
        return decoder.isComplete
    }
}
