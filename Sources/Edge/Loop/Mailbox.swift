// Messages from any thread to one loop.

import DequeModule
import Synchronization

/// A queue that wakes the loop it belongs to; never on the way of a request over a connection that
/// its worker has.
final class Mailbox<Message: Sendable>: Sendable {
    private struct State {
        var messages = Deque<Message>()
        var isClosed = false
    }

    private let state = Mutex(State())
    private let wakeUp: WakeUp

    init() throws(SystemFailure) { wakeUp = try WakeUp() }

    deinit { wakeUp.close() }

    /// What the loop polls for readability.
    var descriptor: Int32 { wakeUp.descriptor }

    /// False when the loop has ended: nobody will read the message.
    @discardableResult
    func post(_ message: Message) -> Bool {
        let count = state.withLock { state in
            guard !state.isClosed else { return 0 }
            state.messages.append(message)
            return state.messages.count
        }
        if count == 1 { wakeUp.signal() }
        return count > 0
    }

    /// Takes all messages, oldest first.
    func takeAll() -> Deque<Message> {
        wakeUp.acknowledge()
        return state.withLock { Self.take(&$0) }
    }

    /// Takes no more messages and returns those that nobody has read.
    func close() -> Deque<Message> {
        state.withLock { state in
            state.isClosed = true
            return Self.take(&state)
        }
    }

    private static func take(_ state: inout State) -> Deque<Message> {
        let taken = state.messages
        state.messages = Deque()
        return taken
    }
}
