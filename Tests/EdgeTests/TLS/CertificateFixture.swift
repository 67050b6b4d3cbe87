import Glibc

@testable import Edge

/// Certificates made once per test run with the openssl command, in a temporary folder.
struct CertificateFixture: Sendable {
    static let shared = CertificateFixture()

    let folder: String

    func path(_ name: String) -> String { "\(folder)/\(name)" }

    func source(_ name: String, isDefault: Bool = false) -> CertificateSource {
        CertificateSource(
            certificatePath: path("\(name).crt"), keyPath: path("\(name).key"),
            isDefault: isDefault)
    }

    init() {
        var template = Array("/tmp/edge-tls-tests-XXXXXX".utf8CString)
        precondition(unsafe mkdtemp(&template) != nil)
        folder = String(
            decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let status = unsafe system(
            "cd \(folder) && cat > make.sh <<'END'\n\(Self.script)\nEND\nsh make.sh")
        precondition(status == 0, "openssl failed in \(folder)")
        let doomed = folder
        Self.atEnd(doomed)
    }

    private static func atEnd(_ folder: String) {
        unsafe setenv("EDGE_TLS_TEST_FOLDER", folder, 1)
        atexit { _ = unsafe system("rm -rf \"$EDGE_TLS_TEST_FOLDER\"") }
    }

    private static let script = """
        set -eu
        exec 2>log
        key() {
            case $2 in
            rsa*) openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:${2#rsa} -out $1.key ;;
            *) openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out $1.key ;;
            esac
        }
        authority() {
            key $1 ec
            openssl req -new -key $1.key -subj "/CN=$1" -out $1.csr
            printf 'basicConstraints=critical,CA:TRUE\\nkeyUsage=critical,keyCertSign\\n' > $1.ext
            if [ $2 = self ]; then
                openssl x509 -req -in $1.csr -signkey $1.key -days 30 -extfile $1.ext -out $1.crt
            else
                openssl x509 -req -in $1.csr -CA $2.crt -CAkey $2.key -days 30 \\
                    -set_serial 0x$(openssl rand -hex 8) -extfile $1.ext -out $1.crt
            fi
        }
        # name, kind of key, issuer, days, alternative names
        leaf() {
            key $1 $2
            openssl req -new -key $1.key -subj "/CN=common.test" -out $1.csr
            : > $1.ext
            [ -z "$5" ] || printf "subjectAltName=$5\\n" > $1.ext
            printf 'basicConstraints=CA:FALSE\\n' >> $1.ext
            openssl x509 -req -in $1.csr -CA $3.crt -CAkey $3.key -days $4 \\
                -set_serial 0x$(openssl rand -hex 8) -extfile $1.ext -out $1.crt
        }
        authority ca self
        authority other self
        authority middle ca
        authority lower middle
        leaf ecdsa ec ca 30 DNS:localhost,DNS:*.localhost,IP:127.0.0.1,IP:::1
        leaf rsa rsa2048 ca 30 DNS:localhost,DNS:*.localhost,IP:127.0.0.1,IP:::1
        leaf exact ec ca 30 DNS:a.example.com
        leaf wide ec ca 30 DNS:*.example.com,DNS:EXAMPLE.com
        leaf common ec ca 30 ''
        leaf stranger ec other 30 DNS:localhost
        leaf expired ec ca -1 DNS:localhost
        leaf weak rsa1024 ca 30 DNS:localhost
        leaf deep ec lower 30 DNS:deep.test
        cp deep.crt deep-leaf.crt
        cat deep-leaf.crt lower.crt middle.crt > deep.crt
        cp deep.key unordered.key; cat deep-leaf.crt middle.crt lower.crt > unordered.crt
        cp deep.key broken.key; cat deep-leaf.crt middle.crt > broken.crt
        cp ecdsa.key unrelated.key; cat ecdsa.crt other.crt > unrelated.crt
        cp ecdsa.crt mismatch.crt; cp exact.key mismatch.key
        echo nothing > empty.crt; cp ecdsa.key empty.key
        cp ecdsa.crt keyless.crt; echo nothing > keyless.key
        sed '3s/./!/' ecdsa.crt > damaged.crt; cp ecdsa.key damaged.key
        cp ecdsa.crt locked.crt; openssl pkey -in ecdsa.key -aes128 -passout pass:x -out locked.key
        head -c 160 /dev/urandom > tickets.bin
        head -c 80 /dev/urandom > tickets-new.bin; head -c 80 tickets.bin >> tickets-new.bin
        head -c 81 /dev/urandom > tickets-bad.bin
        """
}
