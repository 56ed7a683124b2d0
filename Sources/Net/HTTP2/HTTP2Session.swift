import Base
import CNGHTTP2
import Synchronization

/// Owns one `nghttp2_session`: the server's side of one HTTP/2 connection (RFC 9113), without a socket.
///
/// `receive` takes what came in and notes what became ready; `fill` gives what is to go out. nghttp2 does
/// frames, header compression, flow control and the strictness of messages; here are the limits. What
/// a client can make cheaply and we cannot undo cheaply is counted: streams at once, streams that were
/// reset while their handler runs, and resets of either side, so that neither opening and resetting
/// streams (CVE-2023-44487) nor making us reset them (CVE-2025-8671) buys work without end.
///
/// No dynamic table is offered to the client's header compression: a token must not stay in it.
final class HTTP2Session {
    /// Streams at once, advertised to the client.
    static let mostStreams = 128
    /// Requests that their handlers still work on, those of reset streams included.
    private static let mostRunning = 256
    /// Resets in a row, and how many come back in one tick of a quarter of a second.
    private static let mostResets = 200
    private static let resetsPerTick: UInt64 = 5
    /// Bytes of bodies that a client may send ahead on one stream, and on all together.
    private static let streamWindow: UInt32 = 256 << 10
    private static let connectionWindow: Int32 = 1 << 20
    /// Bytes that may wait to be sent before nghttp2 is asked for no more.
    private static let mostOutputBytes = 1 << 20

    private var raw: OpaquePointer?
    private let state: ServerState
    let limits: Limits
    private(set) var streams: [Int32: HTTP2Stream] = [:]
    /// Streams of which the head or the whole request is there, in their order.
    private var ready: [Int32] = []
    /// Handlers that run for streams that are gone.
    private var abandoned = 0
    private var parked = 0
    private var resets = 0
    private var resetTick: UInt64 = 0
    private var tick: UInt64 = 0
    private var isEnding = false
    private var output: OutputBuffer?
    /// It ended for a fault of the client's, who may still be sending.
    private(set) var hasFailed = false

    /// Nil without memory.
    init?(_ state: ServerState, limits: Limits, tick: UInt64) {
        self.state = state
        self.limits = limits
        self.tick = tick
        resetTick = tick
        var callbacks: OpaquePointer?
        var option: OpaquePointer?
        guard nghttp2_session_callbacks_new(&callbacks) == 0, let callbacks else { return nil }
        defer { nghttp2_session_callbacks_del(callbacks) }
        guard nghttp2_option_new(&option) == 0, let option else { return nil }
        defer { nghttp2_option_del(option) }
        Self.setCallbacks(callbacks)
        nghttp2_option_set_no_closed_streams(option, 1)
        nghttp2_option_set_max_deflate_dynamic_table_size(option, 0)
        let me = Unmanaged.passUnretained(self).toOpaque()
        guard nghttp2_session_server_new2(&raw, callbacks, me, option) == 0, let raw else { return nil }
        let settings: [(nghttp2_settings_id, UInt32)] = [
            (NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, UInt32(Self.mostStreams)),
            (NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, Self.streamWindow),
            (NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, UInt32(clamping: limits.headBytes)),
            (NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, 0), (NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1),
        ]
        let entries = settings.map { nghttp2_settings_entry(settings_id: Int32($0.0.rawValue), value: $0.1) }
        guard nghttp2_submit_settings(raw, UInt8(NGHTTP2_FLAG_NONE.rawValue), entries, entries.count) == 0,
            nghttp2_session_set_local_window_size(
                raw, UInt8(NGHTTP2_FLAG_NONE.rawValue), 0, Self.connectionWindow) == 0
        else { return nil }
    }

    deinit {
        for stream in streams.values {
            release(stream)
            stream.source?.lose()
        }
        nghttp2_session_del(raw)
    }

    /// No stream is open.
    var isIdle: Bool { streams.isEmpty }
    /// The connection has nothing more to say or to hear.
    var isOver: Bool { nghttp2_session_want_read(raw) == 0 && nghttp2_session_want_write(raw) == 0 }
    var wantsRead: Bool { nghttp2_session_want_read(raw) != 0 }

    // MARK: In

    /// Takes bytes off the connection.
    /// - Returns: false when the connection is beyond repair and must be closed at once.
    func receive(_ bytes: UnsafeBufferPointer<UInt8>, tick: UInt64) -> Bool {
        self.tick = tick
        let taken = nghttp2_session_mem_recv(raw, bytes.baseAddress, bytes.count)
        return taken == bytes.count
    }

    /// The next stream of which head or body became whole; nil when there is none.
    func takeReady() -> HTTP2Stream? {
        while !ready.isEmpty {
            if let stream = streams[ready.removeFirst()] { return stream }
        }
        return nil
    }

    /// Says that the handler will answer later; past its deadline it is answered for.
    func park(_ stream: HTTP2Stream) {
        stream.phase = .parked
        stream.deadline = deadline(limits.requestSeconds)
        parked += 1
        if parked + abandoned > Self.mostRunning { calm() }
    }

    /// The nearest deadline of all streams.
    var nearestDeadline: UInt64 { streams.values.reduce(.max) { min($0, $1.deadline) } }

    /// Deals with streams that have taken too long.
    /// - Returns: false when the connection cannot go on.
    func expire(tick: UInt64, date: [UInt8]) -> Bool {
        self.tick = tick
        for stream in streams.values where stream.deadline <= tick {
            switch stream.phase {
            case .head: return false
            case .body: answer(stream.id, HTTPResponse(.tooSlow), date: date)
            case .parked: answer(stream.id, HTTPResponse(.tookTooLong), date: date)
            // Sent, and the client still uploads; or the client does not take it.
            case .answering:
                let isSent = stream.sent == stream.answer.count
                reset(stream.id, isSent ? NGHTTP2_NO_ERROR : NGHTTP2_CANCEL)
            }
        }
        return true
    }

    private func deadline(_ seconds: Int) -> UInt64 {
        tick + UInt64(max(seconds, 0)) * EventLoop.ticksPerSecond + 1
    }

    // MARK: Out

    /// Answers a stream; one that is gone gets nothing.
    /// - Parameter source: gives the body bit by bit, in place of the response's.
    func answer(_ id: Int32, _ response: HTTPResponse, date: [UInt8], source: StreamPlace? = nil) {
        guard let stream = streams[id], stream.phase != .answering else {
            if abandoned > 0 { abandoned -= 1 }
            source?.lose()
            return
        }
        if stream.phase == .parked { parked -= 1 }
        release(stream)
        // What still comes of the request is dropped: some clients lose the answer when they are reset.
        stream.phase = .answering
        stream.source = source
        stream.deadline = source == nil ? deadline(limits.writeTimeoutSeconds) : .max
        let status = response.status >= 200 && response.status <= 599 ? response.status : 500
        let hasBody = status != 204 && status != 304
        var list = HTTP2HeaderList()
        list.add(":status", String(status))
        if let type = response.contentType { list.add("content-type", type) }
        if hasBody, source == nil { list.add("content-length", String(response.body.count)) }
        list.add("date", String(decoding: date, as: UTF8.self))
        for (name, value) in response.headers { list.add(name, value) }
        var provider = nghttp2_data_provider()
        provider.read_callback = Self.readAnswer
        let sendsBody = source != nil || hasBody && !stream.isHead && !response.body.isEmpty
        if sendsBody { stream.answer = response.body }
        let code = list.withEntries { entries in
            withUnsafePointer(to: &provider) {
                nghttp2_submit_response(raw, id, entries.baseAddress, entries.count, sendsBody ? $0 : nil)
            }
        }
        if code != 0 { reset(id, NGHTTP2_INTERNAL_ERROR) }
    }

    /// Sends bytes of an answer that comes bit by bit.
    func append(_ bytes: [UInt8], to source: StreamPlace, tick: UInt64) {
        self.tick = tick
        guard let stream = streams[source.id], stream.source === source else { return source.lose() }
        if stream.answer.count - stream.sent > EventLoop.mostUntakenBytes {
            return reset(stream.id, NGHTTP2_CANCEL)
        }
        if stream.deadline == .max { stream.deadline = deadline(limits.writeTimeoutSeconds) }
        stream.answer.append(contentsOf: bytes)
        nghttp2_session_resume_data(raw, stream.id)
    }

    /// Bytes of such an answer that have not been framed yet; nil when there is none.
    func untaken(_ source: StreamPlace) -> Int? {
        guard let stream = streams[source.id], stream.source === source else { return nil }
        return stream.answer.count - stream.sent
    }

    /// Ends an answer that comes bit by bit.
    func endAnswer(_ id: Int32, tick: UInt64) {
        self.tick = tick
        guard let stream = streams[id], stream.source != nil else { return }
        stream.source = nil
        stream.deadline = deadline(limits.writeTimeoutSeconds)
        nghttp2_session_resume_data(raw, id)
    }

    /// Puts what is to be sent behind what `buffer` has, up to a limit; call again when that is out.
    /// - Returns: false when the connection is beyond repair.
    func fill(_ buffer: OutputBuffer) -> Bool {
        output = buffer
        defer { output = nil }
        while buffer.count <= Self.mostOutputBytes {
            var bytes: UnsafePointer<UInt8>?
            let count = nghttp2_session_mem_send(raw, &bytes)
            if count < 0 { return false }
            guard count > 0, let bytes else { return true }
            buffer.append(bytes, count)
        }
        return true
    }

    /// Refuses further streams; those that are open go on.
    func goAway() {
        guard !isEnding else { return }
        isEnding = true
        let last = nghttp2_session_get_last_proc_stream_id(raw)
        nghttp2_submit_goaway(
            raw, UInt8(NGHTTP2_FLAG_NONE.rawValue), last, NGHTTP2_NO_ERROR.rawValue, nil, 0)
    }

    /// Ends the connection; `fill` gives its last words.
    func terminate(isFailure: Bool) { terminate(isFailure ? NGHTTP2_PROTOCOL_ERROR : NGHTTP2_NO_ERROR) }

    private func terminate(_ code: nghttp2_error_code) {
        isEnding = true
        nghttp2_session_terminate_session(raw, code.rawValue)
    }

    private func reset(_ id: Int32, _ code: nghttp2_error_code) {
        nghttp2_submit_rst_stream(raw, UInt8(NGHTTP2_FLAG_NONE.rawValue), id, code.rawValue)
    }

    private func calm() {
        guard !isEnding else { return }
        Instruments.http2Calmed.add()
        state.log.debug("HTTP/2 connection closed: too many resets")
        terminate(NGHTTP2_ENHANCE_YOUR_CALM)
    }

    /// Gives back what a request counted.
    private func release(_ stream: HTTP2Stream) {
        stream.request = nil
        stream.body.wipe()
        stream.body = []
        if stream.charged > 0 { state.bodyBytes.subtract(stream.charged, ordering: .relaxed) }
        stream.charged = 0
    }
}

// MARK: What nghttp2 tells

extension HTTP2Session {
    private static func of(_ user: UnsafeMutableRawPointer?) -> HTTP2Session? {
        user.map { Unmanaged<HTTP2Session>.fromOpaque($0).takeUnretainedValue() }
    }

    private static func setCallbacks(_ callbacks: OpaquePointer) {
        nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks) { _, frame, user in
            guard let frame, let session = HTTP2Session.of(user) else { return 0 }
            return session.begins(frame.pointee)
        }
        nghttp2_session_callbacks_set_on_header_callback(callbacks) {
            _, frame, name, nameCount, value, valueCount, _, user in
            guard let frame, let session = HTTP2Session.of(user) else { return 0 }
            return session.takes(
                frame.pointee, UnsafeBufferPointer(start: name, count: nameCount),
                UnsafeBufferPointer(start: value, count: valueCount))
        }
        nghttp2_session_callbacks_set_on_invalid_header_callback(callbacks) { _, _, _, _, _, _, _, _ in
            // Left alone, nghttp2 drops the field and lets the request through.
            NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue
        }
        nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks) { _, frame, user in
            guard let frame, let session = HTTP2Session.of(user) else { return 0 }
            session.hasReceived(frame.pointee)
            return 0
        }
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks) {
            _, _, id, bytes, count, user in
            HTTP2Session.of(user)?.takesBody(id, UnsafeBufferPointer(start: bytes, count: count))
            return 0
        }
        nghttp2_session_callbacks_set_on_stream_close_callback(callbacks) { _, id, _, user in
            HTTP2Session.of(user)?.closes(id)
            return 0
        }
        nghttp2_session_callbacks_set_on_frame_send_callback(callbacks) { _, frame, user in
            guard let frame, let session = HTTP2Session.of(user) else { return 0 }
            session.hasSent(frame.pointee)
            return 0
        }
        nghttp2_session_callbacks_set_send_data_callback(callbacks) { _, frame, head, count, _, user in
            guard let frame, let head, let session = HTTP2Session.of(user) else {
                return NGHTTP2_ERR_CALLBACK_FAILURE.rawValue
            }
            return session.sends(frame.pointee.hd.stream_id, head, count)
        }
    }

    private func begins(_ frame: nghttp2_frame) -> Int32 {
        guard frame.headers.cat == NGHTTP2_HCAT_REQUEST else { return 0 }
        let stream = HTTP2Stream(id: frame.hd.stream_id, started: tick)
        stream.deadline = deadline(limits.headerTimeoutSeconds)
        streams[stream.id] = stream
        return 0
    }

    private func takes(
        _ frame: nghttp2_frame, _ name: UnsafeBufferPointer<UInt8>, _ value: UnsafeBufferPointer<UInt8>
    ) -> Int32 {
        // Trailers are dropped: nothing here reads them, and they must never act as headers.
        guard frame.headers.cat == NGHTTP2_HCAT_REQUEST, let stream = streams[frame.hd.stream_id] else {
            return 0
        }
        stream.take(name, value, limits)
        return 0
    }

    private func hasReceived(_ frame: nghttp2_frame) {
        let kind = UInt32(frame.hd.type)
        if kind == NGHTTP2_RST_STREAM.rawValue { return countReset() }
        guard kind == NGHTTP2_HEADERS.rawValue || kind == NGHTTP2_DATA.rawValue,
            let stream = streams[frame.hd.stream_id]
        else { return }
        let isHead = kind == NGHTTP2_HEADERS.rawValue && frame.headers.cat == NGHTTP2_HCAT_REQUEST
        if isHead {
            stream.phase = .body
            stream.deadline = stream.started + deadline(limits.readTimeoutSeconds) - tick
        }
        if UInt32(frame.hd.flags) & NGHTTP2_FLAG_END_STREAM.rawValue != 0 { stream.hasEnded = true }
        if isHead || stream.hasEnded { ready.append(stream.id) }
    }

    private func takesBody(_ id: Int32, _ bytes: UnsafeBufferPointer<UInt8>) {
        guard let stream = streams[id], stream.phase == .body, stream.refusal == nil else { return }
        if stream.body.count + bytes.count > limits.bodyBytes {
            stream.refuse(.bodyTooLarge)
            return ready.append(id)
        }
        stream.charged += bytes.count
        let total = state.bodyBytes.add(bytes.count, ordering: .relaxed).newValue
        guard total <= state.limits.bodyBytesInFlight else {
            stream.refuse(.tooManyBodies)
            return ready.append(id)
        }
        stream.body.append(contentsOf: bytes)
    }

    private func closes(_ id: Int32) {
        guard let stream = streams.removeValue(forKey: id) else { return }
        if stream.phase == .parked {
            parked -= 1
            abandoned += 1
            if parked + abandoned > Self.mostRunning { calm() }
        }
        release(stream)
        stream.source?.lose()
        stream.answer.wipe()
    }

    private func hasSent(_ frame: nghttp2_frame) {
        let kind = UInt32(frame.hd.type)
        if kind == NGHTTP2_RST_STREAM.rawValue {
            if frame.rst_stream.error_code != NGHTTP2_NO_ERROR.rawValue { countReset() }
        } else if kind == NGHTTP2_GOAWAY.rawValue, frame.goaway.error_code != NGHTTP2_NO_ERROR.rawValue {
            hasFailed = true
        }
    }

    private func countReset() {
        let back = (tick - resetTick) * Self.resetsPerTick
        resetTick = tick
        resets = max(0, resets - Int(clamping: back)) + 1
        if resets > Self.mostResets { calm() }
    }

    /// How much of the answer goes into the next frame; `sends` copies it.
    private static let readAnswer: nghttp2_data_source_read_callback = {
        _, id, _, most, flags, _, user in
        guard let stream = HTTP2Session.of(user)?.streams[id], let flags else {
            return Int(NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue)
        }
        let count = min(most, stream.answer.count - stream.sent)
        // More will come: `append` takes it up again.
        if count == 0, stream.source != nil { return Int(NGHTTP2_ERR_DEFERRED.rawValue) }
        flags.pointee |= NGHTTP2_DATA_FLAG_NO_COPY.rawValue
        if stream.source == nil, stream.sent + count == stream.answer.count {
            flags.pointee |= NGHTTP2_DATA_FLAG_EOF.rawValue
        }
        return count
    }

    private func sends(_ id: Int32, _ head: UnsafePointer<UInt8>, _ count: Int) -> Int32 {
        guard let output, let stream = streams[id], stream.sent + count <= stream.answer.count else {
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue
        }
        if output.count > Self.mostOutputBytes { return NGHTTP2_ERR_WOULDBLOCK.rawValue }
        output.append(head, Self.frameHeadBytes)
        stream.answer.withUnsafeBufferPointer { bytes in
            if let start = bytes.baseAddress { output.append(start + stream.sent, count) }
        }
        stream.sent += count
        // A client that takes its answer gets its time anew.
        stream.deadline = deadline(limits.writeTimeoutSeconds)
        if stream.source != nil, stream.sent == stream.answer.count {
            stream.answer.wipe()
            stream.sent = 0
            stream.deadline = .max
        }
        return 0
    }
    private static let frameHeadBytes = 9
}

/// Header fields as nghttp2 takes them: one buffer of bytes, and where each name and value is in it.
struct HTTP2HeaderList {
    private var bytes: [UInt8] = []
    private var spans: [(name: Int, value: Int)] = []

    /// Adds a field: its name in lower case, and `?` for what may not be in a value.
    mutating func add(_ name: String, _ value: String) {
        bytes.append(contentsOf: name.utf8.lazy.map { asciiLower($0) })
        bytes.append(contentsOf: value.utf8.lazy.map { $0 < 32 && $0 != 9 || $0 == 127 ? 63 : $0 })
        spans.append((name.utf8.count, value.utf8.count))
    }

    mutating func withEntries<Result>(_ body: (UnsafeBufferPointer<nghttp2_nv>) -> Result) -> Result {
        bytes.withUnsafeMutableBufferPointer { buffer in
            var at = 0
            let entries = spans.map { span in
                let name = buffer.baseAddress.map { $0 + at }
                let value = buffer.baseAddress.map { $0 + at + span.name }
                at += span.name + span.value
                return nghttp2_nv(
                    name: name, value: value, namelen: span.name, valuelen: span.value,
                    flags: UInt8(NGHTTP2_NV_FLAG_NONE.rawValue))
            }
            return entries.withUnsafeBufferPointer(body)
        }
    }
}
