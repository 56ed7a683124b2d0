// LMDB, and the two calls for anonymous files and whole-file locks that Swift's Glibc module leaves out.
#pragma once
#include <lmdb.h>

// Declared only under _GNU_SOURCE, which Swift's own C modules are built without.
int memfd_create(const char *name, unsigned int flags);
// `flock` is also the name of a structure, which hides the function in Swift.
static inline int hf_flock(int descriptor, int operation) {
    extern int flock(int, int);
    return flock(descriptor, operation);
}

int fallocate(int descriptor, int mode, off_t offset, off_t length);
/// Takes room on disk for a part of a file whose size stays as it is (FALLOC_FL_KEEP_SIZE).
static inline int hf_fallocate_keeping_size(int descriptor, off_t offset, off_t length) {
    return fallocate(descriptor, 1, offset, length);
}
