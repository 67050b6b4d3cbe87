// Shows the registry on standard output while the demonstration runs.

/// Redraws the table on a terminal; elsewhere writes one line when something has changed.
struct LiveView {
    private let wakeUp: WakeUp
    private let thread: Thread

    /// Shows what `control` sees from now on until it drains.
    init(_ control: ControlView, isTerminal: Bool) throws(SystemFailure) {
        let wakeUp = try WakeUp()
        self.wakeUp = wakeUp
        thread = try Thread(name: "demo-view") {
            Self.show(control, isTerminal: isTerminal, until: wakeUp)
        }
    }

    private static func show(_ control: ControlView, isTerminal: Bool, until wakeUp: WakeUp) {
        var last = RegistryTable([])
        var drawn = 0
        let pause = isTerminal ? Duration.milliseconds(250) : .seconds(2)
        while LoopbackSocket.wait(pause, or: wakeUp), !control.isDraining {
            let table = RegistryTable(control.registry)
            guard let changes = table.changes(since: last) else { continue }
            last = table
            let lines = table.lines()
            let text = isTerminal ? drawing(lines, over: drawn) : changes + "\n"
            drawn = lines.count
            guard StandardOutput.write(text) else { return }
        }
    }

    /// Goes up over what was drawn, clears to the end, and draws without wrapping (ECMA-48; the
    /// private mode 7 is DEC's).
    private static func drawing(_ lines: [String], over drawn: Int) -> String {
        (drawn > 0 ? "\u{1B}[\(drawn)A\u{1B}[J" : "\n") + "\u{1B}[?7l"
            + lines.joined(separator: "\n") + "\u{1B}[?7h\n"
    }

    func stop() {
        wakeUp.signal()
        thread.join()
        wakeUp.close()
    }
}
