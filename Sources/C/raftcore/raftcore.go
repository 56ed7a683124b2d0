// Package main is etcd's raft core behind the C functions of raftcore.h: no clock, no disk, no network, no
// goroutine of its own. It sees payloads as opaque bytes, and parses only what authenticated peers sent.
package main

/*
#define HFR_BUILDING
#include "raftcore.h"
#include <stdlib.h>
static inline void hfr_call(hfr_body body, void *context) { body(context); }
*/
import "C"

import (
	"fmt"
	"math/rand"
	"runtime"
	"runtime/debug"
	"sync"
	"unsafe"

	"go.etcd.io/etcd/raft"
	pb "go.etcd.io/etcd/raft/raftpb"
)

// seededRand has the layout of raft's own type of that purpose.
type seededRand struct {
	mu   sync.Mutex
	rand *rand.Rand
}

// Election timeouts come from this; the simulation must be able to seed it.
//
//go:linkname globalRand go.etcd.io/etcd/raft.globalRand
var globalRand *seededRand

// A node with a seed has the source to itself while it runs, so that others in the process cannot disturb it.
var (
	randLock   sync.RWMutex
	commonRand *rand.Rand
)

func (n *node) enter() {
	if n.rand == nil {
		randLock.RLock()
		return
	}
	randLock.Lock()
	globalRand.rand = n.rand
}

func (n *node) leave() {
	if n.rand == nil {
		randLock.RUnlock()
		return
	}
	globalRand.rand = commonRand
	randLock.Unlock()
}

// node is one handle.
type node struct {
	raw     *raft.RawNode
	storage *raft.MemoryStorage
	conf    pb.ConfState
	ready   raft.Ready
	// Whether ready has been given out and is to be finished by the next turn.
	isPending bool
	isDead    bool
	rand      *rand.Rand
	out       output
	extra     output
	log       logger
}

var (
	nodesLock sync.RWMutex
	nodes     = map[uint64]*node{}
	lastID    uint64
)

func init() {
	raft.SetLogger(&logger{})
	commonRand = globalRand.rand
	// One thread drives all of it; a second would only help the garbage collector.
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(50)
}

func main() {}

func find(handle C.uint64_t) *node {
	nodesLock.RLock()
	defer nodesLock.RUnlock()
	return nodes[uint64(handle)]
}

// caught makes a panic of the library a return code, and the node useless.
func (n *node) caught(code *C.int32_t) {
	if cause := recover(); cause != nil {
		n.isDead = true
		n.log.add("P", fmt.Sprint(cause))
		*code = C.HFR_PANIC
	}
}

//export hfr_start
func hfr_start(values *C.hfr_start_values, handle *C.uint64_t) (code C.int32_t) {
	n := &node{storage: raft.NewMemoryStorage()}
	defer n.caught(&code)
	v := values
	if n.conf.Unmarshal(view(v.configuration, v.configuration_bytes)) != nil {
		return C.HFR_INVALID
	}
	if v.first_index > 0 {
		start := pb.Snapshot{}
		start.Metadata.Index, start.Metadata.Term = uint64(v.first_index), uint64(v.first_term)
		start.Metadata.ConfState = n.conf
		if n.storage.ApplySnapshot(start) != nil {
			return C.HFR_INVALID
		}
	}
	entries, ok := readEntries(view(v.entries, v.entries_bytes))
	if !ok || n.storage.Append(entries) != nil {
		return C.HFR_INVALID
	}
	if v.term > 0 {
		state := pb.HardState{Term: uint64(v.term), Vote: uint64(v.vote), Commit: uint64(v.commit)}
		if n.storage.SetHardState(state) != nil {
			return C.HFR_INVALID
		}
	}
	if v.seed != 0 {
		n.rand = rand.New(rand.NewSource(int64(v.seed)))
	}
	n.enter()
	defer n.leave()
	raw, err := raft.NewRawNode(&raft.Config{
		ID: uint64(v.id), ElectionTick: int(v.election_ticks), HeartbeatTick: int(v.heartbeat_ticks),
		Storage: n.storage, Applied: uint64(v.applied),
		MaxSizePerMsg: uint64(v.message_bytes), MaxCommittedSizePerReady: uint64(v.committed_bytes),
		MaxUncommittedEntriesSize: uint64(v.uncommitted_bytes), MaxInflightMsgs: int(v.inflight_messages),
		CheckQuorum: true, PreVote: true, DisableProposalForwarding: true, Logger: &n.log,
	})
	if err != nil {
		return C.HFR_INVALID
	}
	n.raw = raw
	nodesLock.Lock()
	defer nodesLock.Unlock()
	lastID++
	nodes[lastID] = n
	*handle = C.uint64_t(lastID)
	return C.HFR_OK
}

//export hfr_stop
func hfr_stop(handle C.uint64_t) {
	nodesLock.Lock()
	defer nodesLock.Unlock()
	if n := nodes[uint64(handle)]; n != nil {
		n.out.release()
		n.extra.release()
		delete(nodes, uint64(handle))
	}
}

//export hfr_turn
func hfr_turn(
	handle C.uint64_t, input C.hfr_bytes, inputBytes C.uint64_t, results *C.int32_t, resultCount C.uint32_t,
	out *C.hfr_bytes, outBytes *C.uint64_t,
) (code C.int32_t) {
	n := find(handle)
	if n == nil {
		return C.HFR_NO_HANDLE
	}
	if n.isDead {
		return C.HFR_PANIC
	}
	defer n.caught(&code)
	n.enter()
	defer n.leave()
	n.finish()
	var codes []C.int32_t
	if resultCount > 0 {
		codes = unsafe.Slice(results, int(resultCount))
	}
	if !n.take(view(input, inputBytes), codes) {
		return C.HFR_INVALID
	}
	n.give()
	*out, *outBytes = n.out.all()
	return C.HFR_OK
}

// finish tells the library that what the last turn gave out is persisted, sent and applied.
func (n *node) finish() {
	if !n.isPending {
		return
	}
	n.isPending = false
	if !raft.IsEmptySnap(n.ready.Snapshot) {
		if err := n.storage.ApplySnapshot(n.ready.Snapshot); err != nil {
			panic(err)
		}
		n.conf = n.ready.Snapshot.Metadata.ConfState
	}
	if !raft.IsEmptyHardState(n.ready.HardState) {
		if err := n.storage.SetHardState(n.ready.HardState); err != nil {
			panic(err)
		}
	}
	if err := n.storage.Append(n.ready.Entries); err != nil {
		panic(err)
	}
	n.raw.Advance(n.ready)
	n.ready = raft.Ready{}
}

// take steps through the input; codes get a result each.
func (n *node) take(input []byte, codes []C.int32_t) bool {
	at := 0
	note := func(err error) {
		if at < len(codes) {
			codes[at] = result(err)
		}
		at++
	}
	for len(input) > 0 {
		kind, value, data, rest, ok := readInput(input)
		if !ok {
			return false
		}
		input = rest
		if kind == C.HFR_PROPOSE {
			// Neighbours become one message to the core, hence one message to each peer.
			entries := []pb.Entry{{Data: clone(data)}}
			for len(entries) < 4096 {
				kind, _, data, rest, ok := readInput(input)
				if !ok || kind != C.HFR_PROPOSE {
					break
				}
				entries = append(entries, pb.Entry{Data: clone(data)})
				input = rest
			}
			count := len(entries)
			err := n.raw.Step(pb.Message{Type: pb.MsgProp, Entries: entries})
			for ; count > 0; count-- {
				note(err)
			}
			continue
		}
		note(n.step(kind, value, data))
	}
	return true
}

func (n *node) step(kind uint32, value uint64, data []byte) error {
	switch kind {
	case C.HFR_TICK:
		n.raw.Tick()
	case C.HFR_MESSAGE:
		return n.receive(value, data)
	case C.HFR_READ:
		n.raw.ReadIndex(clone(data))
	case C.HFR_CHANGE:
		var change pb.ConfChangeV2
		if err := change.Unmarshal(data); err != nil {
			return err
		}
		return n.raw.ProposeConfChange(change)
	case C.HFR_TRANSFER:
		n.raw.TransferLeader(value)
	case C.HFR_UNREACHABLE:
		n.raw.ReportUnreachable(value)
	case C.HFR_SNAPSHOT_SENT:
		n.raw.ReportSnapshot(value, raft.SnapshotFinish)
	case C.HFR_SNAPSHOT_LOST:
		n.raw.ReportSnapshot(value, raft.SnapshotFailure)
	case C.HFR_CAMPAIGN:
		return n.raw.Campaign()
	default:
		return errInvalid
	}
	return nil
}

// receive steps a peer's message, when it is one that peers may send and is meant for this node: the core
// trusts its caller in both.
func (n *node) receive(from uint64, data []byte) error {
	var message pb.Message
	if err := message.Unmarshal(data); err != nil {
		return err
	}
	if message.From != from || message.To != n.raw.BasicStatus().ID {
		return errInvalid
	}
	switch message.Type {
	case pb.MsgApp, pb.MsgAppResp, pb.MsgVote, pb.MsgVoteResp, pb.MsgSnap, pb.MsgHeartbeat,
		pb.MsgHeartbeatResp, pb.MsgTimeoutNow, pb.MsgPreVote, pb.MsgPreVoteResp:
		return n.raw.Step(message)
	}
	return errInvalid
}

// give writes the next output.
func (n *node) give() {
	o := &n.out
	o.reset(int(unsafe.Sizeof(C.hfr_output{})))
	var head C.hfr_output
	if n.raw.HasReady() {
		n.ready = n.raw.Ready()
		n.isPending = true
		n.describe(&head)
	}
	status := n.raw.BasicStatus()
	head.role, head.leader = C.uint32_t(status.RaftState), C.uint64_t(status.Lead)
	head.term, head.vote = C.uint64_t(status.Term), C.uint64_t(status.Vote)
	head.commit = C.uint64_t(status.Commit)
	last, _ := n.storage.LastIndex()
	if count := len(n.ready.Entries); count > 0 {
		last = n.ready.Entries[count-1].Index
	}
	head.last_index = C.uint64_t(last)
	*(*C.hfr_output)(o.start) = head
}

func (n *node) describe(head *C.hfr_output) {
	r, o := &n.ready, &n.out
	flags := uint32(C.HFR_HAS_READY)
	if r.MustSync {
		flags |= C.HFR_MUST_SYNC
	}
	if !raft.IsEmptyHardState(r.HardState) {
		flags |= C.HFR_HAS_HARD_STATE
	}
	if !raft.IsEmptySnap(r.Snapshot) {
		flags |= C.HFR_HAS_SNAPSHOT
		conf, err := r.Snapshot.Metadata.ConfState.Marshal()
		if err != nil {
			panic(err)
		}
		o.append(conf)
		head.snapshot_index = C.uint64_t(r.Snapshot.Metadata.Index)
		head.snapshot_term = C.uint64_t(r.Snapshot.Metadata.Term)
		head.snapshot_configuration_bytes = C.uint32_t(len(conf))
	}
	head.flags = C.uint32_t(flags)
	head.entries = C.uint32_t(len(r.Entries))
	for i := range r.Entries {
		o.entry(&r.Entries[i])
	}
	head.committed = C.uint32_t(len(r.CommittedEntries))
	for i := range r.CommittedEntries {
		o.entry(&r.CommittedEntries[i])
	}
	head.messages = C.uint32_t(len(r.Messages))
	for i := range r.Messages {
		o.message(&r.Messages[i])
	}
	head.reads = C.uint32_t(len(r.ReadStates))
	for i := range r.ReadStates {
		o.header(r.ReadStates[i].Index, uint32(len(r.ReadStates[i].RequestCtx)), 0)
		o.append(r.ReadStates[i].RequestCtx)
	}
}

//export hfr_apply_change
func hfr_apply_change(
	handle C.uint64_t, kind C.uint32_t, data C.hfr_bytes, bytes C.uint64_t, out *C.hfr_bytes,
	outBytes *C.uint64_t,
) (code C.int32_t) {
	n := find(handle)
	if n == nil {
		return C.HFR_NO_HANDLE
	}
	defer n.caught(&code)
	var change pb.ConfChangeV2
	if kind == C.uint32_t(pb.EntryConfChange) {
		var old pb.ConfChange
		if old.Unmarshal(view(data, bytes)) != nil {
			return C.HFR_INVALID
		}
		change = old.AsV2()
	} else if change.Unmarshal(view(data, bytes)) != nil {
		return C.HFR_INVALID
	}
	var head C.hfr_change
	if len(change.Changes) > 0 {
		head.id = C.uint64_t(change.Changes[0].NodeID)
		head.kind = C.uint32_t(change.Changes[0].Type)
	}
	n.conf = *n.raw.ApplyConfChange(change)
	conf, err := n.conf.Marshal()
	if err != nil {
		panic(err)
	}
	o := &n.extra
	o.reset(int(unsafe.Sizeof(head)))
	o.append(conf)
	o.append(change.Context)
	head.configuration_bytes = C.uint32_t(len(conf))
	head.context_bytes = C.uint32_t(len(change.Context))
	*(*C.hfr_change)(o.start) = head
	*out, *outBytes = o.all()
	return C.HFR_OK
}

//export hfr_compact
func hfr_compact(handle C.uint64_t, index C.uint64_t) (code C.int32_t) {
	n := find(handle)
	if n == nil {
		return C.HFR_NO_HANDLE
	}
	defer n.caught(&code)
	n.finish()
	// The core offers this to peers that need older entries. Only its place matters: what is sent is made
	// when it is sent (hfr_rewrite_snapshot).
	if _, err := n.storage.CreateSnapshot(uint64(index), &n.conf, nil); err != nil {
		return C.HFR_INVALID
	}
	if err := n.storage.Compact(uint64(index)); err != nil && err != raft.ErrCompacted {
		return C.HFR_INVALID
	}
	return C.HFR_OK
}

//export hfr_peers
func hfr_peers(handle C.uint64_t, out *C.hfr_bytes, outBytes *C.uint64_t) (code C.int32_t) {
	n := find(handle)
	if n == nil {
		return C.HFR_NO_HANDLE
	}
	defer n.caught(&code)
	o := &n.extra
	o.reset(0)
	if n.raw.BasicStatus().RaftState == raft.StateLeader {
		n.raw.WithProgress(func(id uint64, kind raft.ProgressType, progress tracked) {
			var flags uint32
			if kind == raft.ProgressTypeLearner {
				flags |= 1
			}
			if progress.RecentActive {
				flags |= 2
			}
			o.header(id, uint32(progress.Match), uint32(progress.Match>>32))
			o.header(progress.Next, uint32(progress.State), flags)
		})
	}
	*out, *outBytes = o.all()
	return C.HFR_OK
}

//export hfr_rewrite_snapshot
func hfr_rewrite_snapshot(
	handle C.uint64_t, data C.hfr_bytes, bytes C.uint64_t, index, term C.uint64_t, configuration C.hfr_bytes,
	configurationBytes C.uint64_t, out *C.hfr_bytes, outBytes *C.uint64_t,
) (code C.int32_t) {
	n := find(handle)
	if n == nil {
		return C.HFR_NO_HANDLE
	}
	defer n.caught(&code)
	var message pb.Message
	if message.Unmarshal(view(data, bytes)) != nil {
		return C.HFR_INVALID
	}
	meta := &message.Snapshot.Metadata
	meta.Index, meta.Term = uint64(index), uint64(term)
	meta.ConfState = pb.ConfState{}
	if meta.ConfState.Unmarshal(view(configuration, configurationBytes)) != nil {
		return C.HFR_INVALID
	}
	written, err := message.Marshal()
	if err != nil {
		return C.HFR_INVALID
	}
	n.extra.reset(0)
	n.extra.append(written)
	*out, _ = n.extra.all()
	*outBytes = C.uint64_t(len(written))
	return C.HFR_OK
}

//export hfr_read_snapshot
func hfr_read_snapshot(data C.hfr_bytes, bytes C.uint64_t, index, term *C.uint64_t) C.int32_t {
	var message pb.Message
	if message.Unmarshal(view(data, bytes)) != nil || message.Type != pb.MsgSnap {
		return C.HFR_INVALID
	}
	*index = C.uint64_t(message.Snapshot.Metadata.Index)
	*term = C.uint64_t(message.Snapshot.Metadata.Term)
	return C.HFR_OK
}

//export hfr_encode_configuration
func hfr_encode_configuration(
	voters *C.uint64_t, count C.uint32_t, out *C.uint8_t, capacity C.uint32_t,
) C.int32_t {
	var conf pb.ConfState
	for _, id := range unsafe.Slice(voters, int(count)) {
		conf.Voters = append(conf.Voters, uint64(id))
	}
	written, err := conf.Marshal()
	return put(written, err, out, capacity)
}

//export hfr_encode_change
func hfr_encode_change(
	kind C.uint32_t, id C.uint64_t, context C.hfr_bytes, contextBytes C.uint64_t, out *C.uint8_t,
	capacity C.uint32_t,
) C.int32_t {
	change := pb.ConfChangeV2{
		Changes: []pb.ConfChangeSingle{{Type: pb.ConfChangeType(kind), NodeID: uint64(id)}},
		Context: view(context, contextBytes),
	}
	written, err := change.Marshal()
	return put(written, err, out, capacity)
}

//export hfr_take_log
func hfr_take_log(handle C.uint64_t, out *C.uint8_t, capacity C.uint32_t) C.int32_t {
	n := find(handle)
	if n == nil {
		return C.HFR_NO_HANDLE
	}
	return C.int32_t(n.log.take(unsafe.Slice((*byte)(unsafe.Pointer(out)), int(capacity))))
}

//export hfr_heap_bytes
func hfr_heap_bytes() C.uint64_t {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return C.uint64_t(stats.HeapAlloc)
}

//export hfr_run
func hfr_run(body C.hfr_body, context unsafe.Pointer) { C.hfr_call(body, context) }
