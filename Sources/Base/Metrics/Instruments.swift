/// What the process counts below the API, one set for all: an instrument is reached from wherever it
/// counts, without being handed through every layer. `sys/metrics` reads them.
package enum Instruments {
    /// Entries read through the barrier, found or not.
    package static let barrierGets = MetricCounter()
    /// Pages listed or scanned through the barrier.
    package static let barrierLists = MetricCounter()
    /// Entries encrypted by the barrier.
    package static let barrierPuts = MetricCounter()
    /// Entries deleted through the barrier.
    package static let barrierDeletes = MetricCounter()

    /// Batches: encryption, the storage, and telling the caches.
    package static let commitBatches = MetricTimer()
    /// The part of a batch that the storage takes, its sync included.
    package static let storageCommits = MetricTimer()
    /// Write sets in all batches.
    package static let committedWriteSets = MetricCounter()
    /// Keys in all batches.
    package static let committedKeys = MetricCounter()
    /// Handlers that were run again because what they had read was changed.
    package static let commitReruns = MetricCounter()
    /// Batches that the storage refused.
    package static let commitFailures = MetricCounter()

    /// Read indices that were asked for; many requests share one.
    package static let readIndexRounds = MetricCounter()
    /// Requests that were answered behind a read index.
    package static let confirmedReads = MetricCounter()
    /// Requests that were handed to the active node.
    package static let forwardedRequests = MetricCounter()
    /// Terms of duty that began on this node.
    package static let dutiesBegun = MetricCounter()
    /// Requests that no audit device could record.
    package static let auditRequestFailures = MetricCounter()
    /// Answers that no audit device could record.
    package static let auditResponseFailures = MetricCounter()
    /// Writes of single audit devices that failed.
    package static let auditWriteFailures = MetricCounter()

    /// Requests that could not be read, by whatever fault.
    package static let requestsRefused = MetricCounter()
    /// TLS handshakes that failed.
    package static let tlsHandshakesFailed = MetricCounter()
    /// Connections taken.
    package static let connectionsAccepted = MetricCounter()
    /// HTTP/2 connections closed because of too many resets or other abuse.
    package static let http2Calmed = MetricCounter()
}
