internal import CCurl
internal import CPosix
internal import Glibc

/// The functions of libcurl, opened once for the process and never closed.
private struct CurlLibrary: @unchecked Sendable {
    // SAFETY: the table is written before it is shared and never again; libcurl's functions may be
    // called from any thread on separate handles.
    private let table: UnsafePointer<hf_curl>
    var api: UnsafePointer<hf_curl> { table }

    static let shared: Result<CurlLibrary, HTTPClientError> = {
        let table = UnsafeMutablePointer<hf_curl>.allocate(capacity: 1)
        table.initialize(to: hf_curl())
        guard hf_curl_open(table) == 0 else {
            let reason = dlerror().map { String(cString: $0) } ?? "it could not be initialised"
            return .failure(
                HTTPClientError(
                    .configuration, "libcurl.so.4 is needed (Debian: libcurl4): \(reason)",
                    HTTPClientRequest(method: "", url: "")))
        }
        return .success(CurlLibrary(table: UnsafePointer(table)))
    }()
}

/// Owns one `CURL *` easy handle and what it borrows between set-up and the end of a transfer.
final class CurlHandle {
    private let api: UnsafePointer<hf_curl>
    private let raw: UnsafeMutableRawPointer
    private let errorText: UnsafeMutablePointer<CChar>
    private var connectList: UnsafeMutablePointer<curl_slist>?

    init() throws(HTTPClientError) {
        api = try CurlLibrary.shared.get().api
        guard let raw = api.pointee.easy_init() else {
            throw HTTPClientError(
                .configuration, "libcurl gives no handle", HTTPClientRequest(method: "", url: ""))
        }
        self.raw = raw
        errorText = .allocate(capacity: Int(CURL_ERROR_SIZE))
        errorText.initialize(repeating: 0, count: Int(CURL_ERROR_SIZE))
    }

    deinit {
        api.pointee.easy_cleanup(raw)
        api.pointee.slist_free_all(connectList)
        errorText.deallocate()
    }

    /// Forgets every option; live connections stay.
    func reset() {
        api.pointee.easy_reset(raw)
        api.pointee.slist_free_all(connectList)
        connectList = nil
    }

    func set(_ option: CURLoption, _ value: Int) { _ = hf_curl_set_long(api, raw, option, value) }
    func set(_ option: CURLoption, _ value: String?) { _ = hf_curl_set_text(api, raw, option, value) }

    /// libcurl keeps a copy of the bytes.
    func set(_ option: CURLoption, copying bytes: [UInt8]) {
        bytes.withUnsafeBytes { set(option, copying: $0) }
    }

    /// The same for bytes that somebody else owns.
    func set(_ option: CURLoption, copying bytes: UnsafeRawBufferPointer) {
        // libcurl's structure is not const, though it only reads.
        var blob = curl_blob(
            data: UnsafeMutableRawPointer(mutating: bytes.baseAddress), len: bytes.count,
            flags: UInt32(CURL_BLOB_COPY))
        _ = hf_curl_set_pointer(api, raw, option, &blob)
    }

    func connect(to rule: String) {
        connectList = api.pointee.slist_append(connectList, rule)
        _ = hf_curl_set_list(api, raw, CURLOPT_CONNECT_TO, connectList)
    }

    struct Outcome {
        var status = 0
        var failure: CURLcode?
        var detail = ""
        var systemError: Int32 = 0
    }

    /// Runs the transfer; header lines and body go to the collector.
    func perform(headers: [(String, String)], body: [UInt8]?, collector: Collector) -> Outcome {
        var list: UnsafeMutablePointer<curl_slist>?
        defer { api.pointee.slist_free_all(list) }
        // An empty `Expect:` stops libcurl from waiting for a 100 before larger bodies.
        list = api.pointee.slist_append(list, "Expect:")
        for (name, value) in headers {
            list = api.pointee.slist_append(list, value.isEmpty ? "\(name);" : "\(name): \(value)")
        }
        _ = hf_curl_set_list(api, raw, CURLOPT_HTTPHEADER, list)
        let target = Unmanaged.passUnretained(collector).toOpaque()
        _ = hf_curl_set_pointer(api, raw, CURLOPT_WRITEDATA, target)
        _ = hf_curl_set_pointer(api, raw, CURLOPT_HEADERDATA, target)
        _ = hf_curl_set_sink(api, raw, CURLOPT_WRITEFUNCTION) { bytes, size, count, target in
            guard let target else { return 0 }
            let collector = Unmanaged<Collector>.fromOpaque(target).takeUnretainedValue()
            return collector.take(body: UnsafeRawBufferPointer(start: bytes, count: size * count))
                ? size * count : 0
        }
        _ = hf_curl_set_sink(api, raw, CURLOPT_HEADERFUNCTION) { bytes, size, count, target in
            guard let target else { return 0 }
            let collector = Unmanaged<Collector>.fromOpaque(target).takeUnretainedValue()
            return collector.take(header: UnsafeRawBufferPointer(start: bytes, count: size * count))
                ? size * count : 0
        }
        errorText[0] = 0
        _ = hf_curl_set_pointer(api, raw, CURLOPT_ERRORBUFFER, errorText)
        let code = withExtendedLifetime(collector) { performLending(body) }
        var outcome = Outcome()
        var number = 0
        _ = hf_curl_get_long(api, raw, CURLINFO_RESPONSE_CODE, &number)
        outcome.status = number
        guard code != CURLE_OK else { return outcome }
        outcome.failure = code
        if errorText[0] != 0 {
            outcome.detail = String(cString: errorText)
        } else {
            outcome.detail =
                api.pointee.easy_strerror(code).map { String(cString: $0) } ?? "error \(code.rawValue)"
        }
        number = 0
        _ = hf_curl_get_long(api, raw, CURLINFO_OS_ERRNO, &number)
        outcome.systemError = Int32(truncatingIfNeeded: number)
        return outcome
    }

    private func performLending(_ body: [UInt8]?) -> CURLcode {
        guard let body else { return api.pointee.easy_perform(raw) }
        _ = hf_curl_set_size(api, raw, CURLOPT_POSTFIELDSIZE_LARGE, Int64(body.count))
        return body.withUnsafeBytes { bytes in
            // An empty array may lend no address, which libcurl would take for a request without a body.
            withUnsafePointer(to: CChar(0)) { empty in
                let address = bytes.baseAddress?.assumingMemoryBound(to: CChar.self) ?? empty
                _ = hf_curl_set_text(api, raw, CURLOPT_POSTFIELDS, address)
                return api.pointee.easy_perform(raw)
            }
        }
    }
}

/// Receives a response's header lines and body.
final class Collector {
    private(set) var headers: [(name: String, value: String)] = []
    private(set) var body: [UInt8] = []
    private(set) var overflowed = false
    private let mostBytes: Int
    private let sink: ((UnsafeRawBufferPointer) -> Bool)?
    private var headerBytes = 0
    private var isSuccess = false

    /// With a sink, a success's body goes there and is not kept.
    init(mostBytes: Int, sink: ((UnsafeRawBufferPointer) -> Bool)? = nil) {
        self.mostBytes = mostBytes
        self.sink = sink
    }

    func take(body bytes: UnsafeRawBufferPointer) -> Bool {
        if let sink, isSuccess { return sink(bytes) }
        guard body.count + bytes.count <= mostBytes else {
            overflowed = true
            return false
        }
        body.append(contentsOf: bytes)
        return true
    }

    func take(header line: UnsafeRawBufferPointer) -> Bool {
        headerBytes += line.count
        guard headerBytes <= 1 << 20 else {
            overflowed = true
            return false
        }
        // A status line starts a new head: those before it were an interim response's or a proxy's.
        if line.starts(with: "HTTP/".utf8) {
            headers = []
            let status = line.split(separator: UInt8(ascii: " ")).dropFirst().first
            isSuccess = status?.first == UInt8(ascii: "2")
            return true
        }
        guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else { return true }
        let value = line[(colon + 1)...].drop { $0 == 32 || $0 == 9 }
        let end = value.lastIndex { $0 > 32 }.map { $0 + 1 } ?? value.startIndex
        headers.append(
            (
                String(decoding: line[..<colon], as: UTF8.self).lowercased(),
                String(decoding: value[value.startIndex..<end], as: UTF8.self)
            ))
        return true
    }
}
