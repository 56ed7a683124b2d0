// The consensus core of Holdfast as a C library: etcd's raft as a state machine without clock, disk or
// network. Written in Go, built by scripts/bootstrap into an archive; Sources/Consensus is its only user.
//
// - The Go runtime starts with the first hfr_start, not with the process: a command that needs no consensus
//   does not pay for it, and Go's threads inherit the signal mask that the server has set up by then.
// - A handle belongs to one thread at a time.
// - Input is read during the call only. What a call gives out belongs to the handle and is valid until the
//   next call with it.
// - Numbers are little endian. A record is a header and its bytes, padded with zeros to a multiple of 8.
// - A panic of the core is caught: the call gives HFR_PANIC, and the handle is of no use any more.
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef const uint8_t *hfr_bytes;
typedef void (*hfr_body)(void *);

enum { HFR_OK = 0, HFR_DROPPED = -1, HFR_INVALID = -2, HFR_PANIC = -3, HFR_NO_HANDLE = -4 };

// What a node begins with.
typedef struct {
    uint64_t id;
    uint32_t election_ticks, heartbeat_ticks;
    // Bytes of entries in one message; bytes of committed entries in one turn; bytes proposed and not yet
    // committed; messages with entries in flight to one peer.
    uint64_t message_bytes, committed_bytes, uncommitted_bytes;
    uint32_t inflight_messages, reserved;
    // The stored term, vote and commit index.
    uint64_t term, vote, commit;
    // The state: the last entry in it, that entry's term, and who votes as of it. The log begins behind
    // first_index, which may be lower.
    uint64_t applied, first_index, first_term;
    hfr_bytes configuration;
    uint64_t configuration_bytes;
    // The log: hfr_entry records in order, without gaps.
    hfr_bytes entries;
    uint64_t entries_bytes;
    // Not 0: seeds the election timeouts of this node.
    uint64_t seed;
} hfr_start_values;

// Kinds of input of a turn.
enum {
    HFR_TICK = 1,
    HFR_PROPOSE = 2,      // bytes: the payload
    HFR_MESSAGE = 3,      // value: the sender; bytes: what hfr_message had
    HFR_READ = 4,         // bytes: a context that is never used again
    HFR_CHANGE = 5,       // bytes: what hfr_encode_change gave
    HFR_TRANSFER = 6,     // value: the new leader
    HFR_UNREACHABLE = 7,  // value: the peer
    HFR_SNAPSHOT_SENT = 8,
    HFR_SNAPSHOT_LOST = 9,
    HFR_CAMPAIGN = 10
};
typedef struct {
    uint32_t kind, bytes;
    uint64_t value;
} hfr_input;

// An entry of the log. Kind 0 is a payload; the others change the membership.
typedef struct {
    uint64_t index, term;
    uint32_t kind, bytes;
} hfr_entry;

// Kinds of message that matter outside (raftpb.MessageType).
enum { HFR_APPEND = 3, HFR_SNAPSHOT = 7, HFR_HEARTBEAT = 8, HFR_TIMEOUT_NOW = 14 };
typedef struct {
    uint64_t to;
    uint32_t kind, bytes;
} hfr_message;

// A read may be served once the entry of this index has been applied.
typedef struct {
    uint64_t index;
    uint32_t bytes, reserved;
} hfr_read;

// What a turn yields. Behind it: the snapshot's configuration; the entries to persist; the committed
// entries; the messages; the reads.
enum { HFR_HAS_READY = 1, HFR_MUST_SYNC = 2, HFR_HAS_HARD_STATE = 4, HFR_HAS_SNAPSHOT = 8 };
typedef struct {
    uint32_t flags, role;
    uint64_t leader, term, vote, commit, last_index;
    uint64_t snapshot_index, snapshot_term;
    uint32_t snapshot_configuration_bytes;
    uint32_t entries, committed, messages, reads, reserved;
} hfr_output;

// How far a peer is, as the leader knows it. State 0 probes, 1 replicates, 2 waits for a snapshot.
typedef struct {
    uint64_t id, match, next;
    uint32_t state, flags;  // 1 learner, 2 heard of since the last check of the quorum
} hfr_progress;

// Behind it: the new configuration, then the context that hfr_encode_change was given.
typedef struct {
    uint64_t id;
    uint32_t kind, configuration_bytes, context_bytes, reserved;
} hfr_change;
enum { HFR_ADD_VOTER = 0, HFR_REMOVE = 1, HFR_UPDATE = 2, HFR_ADD_LEARNER = 3 };

// Starts the Go runtime when that has not happened yet, and waits until it runs. From any thread.
void hfr_boot(void);

#ifndef HFR_BUILDING
int32_t hfr_start(hfr_start_values *values, uint64_t *handle);
void hfr_stop(uint64_t handle);
// Finishes the last turn's output, takes all input, and gives the next output. results: one per input.
int32_t hfr_turn(
    uint64_t handle, hfr_bytes input, uint64_t input_bytes, int32_t *results, uint32_t result_count,
    hfr_bytes *output, uint64_t *output_bytes);
// For every committed entry of a kind other than 0, in order, before the next turn.
int32_t hfr_apply_change(
    uint64_t handle, uint32_t kind, hfr_bytes data, uint64_t bytes, hfr_bytes *output,
    uint64_t *output_bytes);
// Makes the log begin behind this applied entry. Entries before it are forgotten.
int32_t hfr_compact(uint64_t handle, uint64_t index);
// The progress of all peers: an array of hfr_progress. Empty on others than the leader.
int32_t hfr_peers(uint64_t handle, hfr_bytes *output, uint64_t *output_bytes);
// A message of kind HFR_SNAPSHOT, about another state than the core had in mind.
int32_t hfr_rewrite_snapshot(
    uint64_t handle, hfr_bytes message, uint64_t message_bytes, uint64_t index, uint64_t term,
    hfr_bytes configuration, uint64_t configuration_bytes, hfr_bytes *output, uint64_t *output_bytes);
// What a message of kind HFR_SNAPSHOT is about.
int32_t hfr_read_snapshot(hfr_bytes message, uint64_t bytes, uint64_t *index, uint64_t *term);
// The configuration of a cluster with these voters.
int32_t hfr_encode_configuration(
    const uint64_t *voters, uint32_t count, uint8_t *output, uint32_t capacity);
// One change of the membership as entry data. Gives the size, or HFR_INVALID when there is no room.
int32_t hfr_encode_change(
    uint32_t kind, uint64_t id, hfr_bytes context, uint64_t context_bytes, uint8_t *output,
    uint32_t capacity);
// Lines that the core has logged since, each with its level and a newline. Gives their size.
int32_t hfr_take_log(uint64_t handle, uint8_t *output, uint32_t capacity);
// Bytes in use on Go's heap.
uint64_t hfr_heap_bytes(void);
// Lends the calling thread to body: calls made inside it are a hundred times cheaper.
void hfr_run(hfr_body body, void *context);
#endif
