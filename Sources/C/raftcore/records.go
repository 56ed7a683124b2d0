package main

/*
#define HFR_BUILDING
#include "raftcore.h"
#include <stdlib.h>
*/
import "C"

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"go.etcd.io/etcd/raft"
	pb "go.etcd.io/etcd/raft/raftpb"
	"go.etcd.io/etcd/raft/tracker"
)

type tracked = tracker.Progress

var (
	little     = binary.LittleEndian
	errInvalid = errors.New("not a valid input")
)

// result is what a caller in C gets for an error.
func result(err error) C.int32_t {
	switch err {
	case nil:
		return C.HFR_OK
	case raft.ErrProposalDropped:
		return C.HFR_DROPPED
	}
	return C.HFR_INVALID
}

// view is the caller's memory, for the length of the call.
func view(start C.hfr_bytes, bytes C.uint64_t) []byte {
	if bytes == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(start)), int(bytes))
}

func clone(data []byte) []byte { return append([]byte(nil), data...) }

func padded(size int) int { return (size + 7) &^ 7 }

// put copies what was written to the caller's memory.
func put(written []byte, err error, out *C.uint8_t, capacity C.uint32_t) C.int32_t {
	if err != nil || len(written) > int(capacity) {
		return C.HFR_INVALID
	}
	return C.int32_t(copy(unsafe.Slice((*byte)(unsafe.Pointer(out)), int(capacity)), written))
}

// readInput takes one hfr_input record from the front.
func readInput(input []byte) (kind uint32, value uint64, data, rest []byte, ok bool) {
	if len(input) < 16 {
		return 0, 0, nil, nil, false
	}
	size := int(little.Uint32(input[4:]))
	if padded(size) > len(input)-16 {
		return 0, 0, nil, nil, false
	}
	return little.Uint32(input), little.Uint64(input[8:]), input[16 : 16+size], input[16+padded(size):], true
}

// readEntries takes hfr_entry records.
func readEntries(input []byte) (entries []pb.Entry, ok bool) {
	for len(input) > 0 {
		if len(input) < 24 {
			return nil, false
		}
		size := int(little.Uint32(input[20:]))
		if padded(size) > len(input)-24 {
			return nil, false
		}
		entries = append(entries, pb.Entry{
			Index: little.Uint64(input), Term: little.Uint64(input[8:]),
			Type: pb.EntryType(little.Uint32(input[16:])), Data: clone(input[24 : 24+size]),
		})
		input = input[24+padded(size):]
	}
	return entries, true
}

// output is a growing piece of C memory, so that the caller may keep it between calls.
type output struct {
	start          unsafe.Pointer
	used, capacity int
}

// Behind a burst the memory is given back down to this.
const keptBytes = 4 << 20

// reset begins anew with room for a head of this size, which is all zeros.
func (o *output) reset(head int) {
	if o.capacity > keptBytes {
		o.release()
	}
	o.used = 0
	clear := o.room(head)
	for i := range clear {
		clear[i] = 0
	}
}

func (o *output) release() {
	C.free(o.start)
	*o = output{}
}

func (o *output) all() (C.hfr_bytes, C.uint64_t) { return C.hfr_bytes(o.start), C.uint64_t(o.used) }

// room makes the output longer and gives the new part, which is not cleared.
func (o *output) room(size int) []byte {
	if o.start == nil || o.used+size > o.capacity {
		capacity := 2*o.capacity + size + 4096
		start := C.realloc(o.start, C.size_t(capacity))
		if start == nil {
			panic("out of memory")
		}
		o.start, o.capacity = start, capacity
	}
	part := unsafe.Slice((*byte)(unsafe.Add(o.start, o.used)), size)
	o.used += size
	return part
}

// header writes a head of 16 bytes.
func (o *output) header(a uint64, b, c uint32) {
	head := o.room(16)
	little.PutUint64(head, a)
	little.PutUint32(head[8:], b)
	little.PutUint32(head[12:], c)
}

// append writes bytes and pads them.
func (o *output) append(data []byte) {
	part := o.room(padded(len(data)))
	for i := copy(part, data); i < len(part); i++ {
		part[i] = 0
	}
}

func (o *output) entry(entry *pb.Entry) {
	head := o.room(8)
	little.PutUint64(head, entry.Index)
	o.header(entry.Term, uint32(entry.Type), uint32(len(entry.Data)))
	o.append(entry.Data)
}

func (o *output) message(message *pb.Message) {
	size := message.Size()
	o.header(message.To, uint32(message.Type), uint32(size))
	part := o.room(padded(size))
	if _, err := message.MarshalTo(part[:size]); err != nil {
		panic(err)
	}
	for i := size; i < len(part); i++ {
		part[i] = 0
	}
}

// logger keeps the core's lines until they are taken. It never keeps many: nobody must rely on them.
type logger struct{ lines []string }

const keptLines = 256

func (l *logger) add(level, line string) {
	if len(l.lines) < keptLines {
		l.lines = append(l.lines, level+" "+line)
	}
}

// take moves whole lines to the buffer.
func (l *logger) take(buffer []byte) int {
	used := 0
	for len(l.lines) > 0 && used+len(l.lines[0]) < len(buffer) {
		used += copy(buffer[used:], l.lines[0])
		buffer[used] = '\n'
		used++
		l.lines = l.lines[1:]
	}
	return used
}

func (l *logger) Debug(v ...interface{})                   {}
func (l *logger) Debugf(format string, v ...interface{})   {}
func (l *logger) Info(v ...interface{})                    { l.add("I", fmt.Sprint(v...)) }
func (l *logger) Infof(format string, v ...interface{})    { l.add("I", fmt.Sprintf(format, v...)) }
func (l *logger) Warning(v ...interface{})                 { l.add("W", fmt.Sprint(v...)) }
func (l *logger) Warningf(format string, v ...interface{}) { l.add("W", fmt.Sprintf(format, v...)) }
func (l *logger) Error(v ...interface{})                   { l.add("E", fmt.Sprint(v...)) }
func (l *logger) Errorf(format string, v ...interface{})   { l.add("E", fmt.Sprintf(format, v...)) }

// What ends a program of the library's own must end only the node here: see caught.
func (l *logger) Fatal(v ...interface{})                 { panic(fmt.Sprint(v...)) }
func (l *logger) Fatalf(format string, v ...interface{}) { panic(fmt.Sprintf(format, v...)) }
func (l *logger) Panic(v ...interface{})                 { panic(fmt.Sprint(v...)) }
func (l *logger) Panicf(format string, v ...interface{}) { panic(fmt.Sprintf(format, v...)) }
