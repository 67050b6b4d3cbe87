@main
struct EdgeProxy {
    static func main() {}
}
