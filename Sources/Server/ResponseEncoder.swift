import Base
import Core
import Net
import PluginKit

/// Answers as HTTP: the envelope, Vault's errors, and the headers that every answer of a listener carries.
enum ResponseEncoder {
    private static let json = "application/json"

    static func encode(
        _ response: LogicalResponse, id: String, mountType: String, _ headers: ResponseHeaders
    ) -> HTTPResponse {
        if let raw = response.raw { return self.raw(raw, headers) }
        guard let body = Envelope.encode(response, id: id, mountType: mountType) else {
            let status = response.status ?? 204
            return HTTPResponse(
                status: status, contentType: json, headers: headers.of(status, with: response.headers))
        }
        let status = response.status ?? 200
        return HTTPResponse(
            status: status, contentType: json, headers: headers.of(status, with: response.headers), body: body
        )
    }

    static func raw(_ raw: RawAnswer, _ headers: ResponseHeaders) -> HTTPResponse {
        HTTPResponse(
            status: raw.status, contentType: raw.contentType,
            headers: headers.of(raw.status, with: raw.headers), body: raw.body)
    }

    static func error(
        _ error: VaultError, id: String, _ log: Log, _ headers: ResponseHeaders
    ) -> HTTPResponse {
        if let cause = error.privateCause { log.error("request failed", ["request_id": id, "cause": cause]) }
        var writer = JSONWriter(reserving: 128)
        writer.beginObject()
        writer.field("errors", error.messages)
        writer.endObject()
        writer.newline()
        var more: [(name: String, value: String)] = []
        if case .unavailable(_, let seconds) = error, seconds > 0 {
            more.append(("Retry-After", String(seconds)))
        }
        return HTTPResponse(
            status: error.status, contentType: json, headers: headers.of(error.status, with: more),
            body: writer.bytes)
    }

    static func redirect(to location: String, _ headers: ResponseHeaders) -> HTTPResponse {
        var writer = JSONWriter(reserving: 128)
        writer.value(["errors": ["the path has a '.', '..' or empty segment; its clean form is in Location"]])
        writer.newline()
        return HTTPResponse(
            status: 301, contentType: json, headers: headers.of(301, with: [("Location", location)]),
            body: writer.bytes)
    }
}
