// Messages from any thread to one loop.

import DequeModule
import Synchronization

/// A queue that wakes the loop it belongs to; for the control plane, never on a request's way.
final class Mailbox<Message: Sendable>: Sendable {
    private let messages = Mutex(Deque<Message>())
    private let wakeUp: WakeUp

    init() throws(SystemFailure) { wakeUp = try WakeUp() }

    deinit { wakeUp.close() }

    /// What the loop polls for readability.
    var descriptor: Int32 { wakeUp.descriptor }

    func post(_ message: Message) {
        let isFirst = messages.withLock { queue in
            queue.append(message)
            return queue.count == 1
        }
        if isFirst { wakeUp.signal() }
    }

    /// Takes all messages, oldest first.
    func takeAll() -> Deque<Message> {
        wakeUp.acknowledge()
        return messages.withLock { queue in
            let taken = queue
            queue = Deque()
            return taken
        }
    }
}
