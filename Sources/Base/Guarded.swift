import Synchronization

/// A value that threads take turns with.
package final class Guarded<Value>: @unchecked Sendable {
    // SAFETY: `value` is reached only with `lock` held.
    private let value: Value
    private let lock = Mutex<Void>(())

    package init(_ value: Value) { self.value = value }

    /// Lends the value for the length of the call; it must not be kept.
    package func use<Result, Failure: Error>(_ body: (Value) throws(Failure) -> Result) throws(Failure)
        -> Result
    {
        let outcome: Swift.Result<Result, Failure> = lock.withLock { _ in
            do throws(Failure) { return .success(try body(value)) } catch { return .failure(error) }
        }
        return try outcome.get()
    }
}
