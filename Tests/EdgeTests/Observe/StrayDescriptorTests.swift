import Glibc
import Testing

@testable import Edge

@Suite("The table of descriptors") struct StrayDescriptorTests {
    @Test("shows a file and a socket that nobody answers for, by what they are")
    func strays() throws {
        let file = unsafe open("/dev/null", O_RDONLY)
        let sock = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer {
            close(file)
            close(sock)
        }
        let numbers = Set(try #require(DescriptorTable.numbers()))
        #expect(numbers.isSuperset(of: [file, sock]))
        // Others open and close their own while tests run side by side.
        func found(_ known: Set<Int32>, _ matters: (String) -> Bool) -> [Int32: String] {
            Census.strays(beside: known, where: matters).reduce(into: [:]) {
                $0[$1.number] = $1.link
            }
        }
        let all = found([]) { _ in true }
        #expect(all[file] == "/dev/null")
        #expect(all[sock]?.hasPrefix("socket:[") == true)
        #expect(found([sock]) { _ in true }[sock] == nil)
        let sockets = found([]) { $0.hasPrefix("socket:") }
        #expect(sockets[sock] != nil && sockets[file] == nil)
    }

    @Test("what says that it is open is known until it says that it ends")
    func known() throws {
        let wakeUp = try WakeUp()
        #expect(KnownDescriptors.all.contains(wakeUp.descriptor))
        wakeUp.close()
    }

    @Test("a second census clears what it finds an owner for, and what was closed meanwhile")
    func secondLook() throws {
        let socks = (0..<3).map { _ in socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0) }
        defer { for sock in socks[..<2] { close(sock) } }
        let suspects = try socks.map {
            StrayDescriptor(number: $0, link: try #require(DescriptorTable.link($0)))
        }
        close(socks[2])
        let census = Census(workers: 1, purpose: .check, suspects: suspects)
        var part = Census.Part(worker: 0)
        part.descriptors = [socks[0]]
        #expect(!census.isComplete)
        #expect(census.add(part))
        #expect(census.isComplete)
        #expect(census.strays() == [suspects[1]])
    }
}
