// A disk that can fail, for one process: preloaded into the server, it stands between the server (LMDB
// included) and the C library's calls for files below one directory.
//
//   FAULTSTORE_ROOT     the directory; calls for other files pass untouched
//   FAULTSTORE_CONTROL  a file of 64-bit words (see `enum word`) that the test maps too, and may change
//                       while the server runs
//   FAULTSTORE_TRACE    optional: each call that changes the disk is appended here, with its bytes, so that
//                       the test can work out what a loss of power may leave (disk.py)
//
// Calls are numbered from 1 as they come; one runs at a time. Reads through the memory map are not seen.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

// Words of the control file. store.py has the same list.
enum word {
    OPS,         // calls so far
    KILL_AT,     // the process dies at this call; 0: never
    KILL_WHEN,   // 0 before it, 1 after it, 2 in the middle of it (a write leaves half of its bytes)
    FULL,        // 0 no, 1 no new blocks beyond ROOM, 2 no write at all (a file system that copies on write)
    ROOM,        // bytes that may still be allocated while FULL is 1
    FAIL_KIND,   // kinds of calls (below) that fail with EIO
    FAIL_SKIP,   // so many of them succeed first
    FAIL_COUNT,  // so many of them then fail
    FAIL_LONGER, // writes of up to this many bytes are none of them
    FAILED,      // calls that were made to fail
    REFUSED,     // calls that found no room
    SYNCS,       // syncs that succeeded, writes to descriptors that sync by themselves included
    STALL,       // while it is not 0, a sync takes forever, and whatever comes behind it
    WORDS = 512
};

enum kind { WRITE = 1, SYNC = 2, SYNCED_WRITE = 4, READ = 8, RESIZE = 16, NAME = 32 };

enum { MOST_FILES = 250, MOST_DESCRIPTORS = 4096 };

static struct { char path[PATH_MAX]; int64_t allocated; } files[MOST_FILES];
static int file_count;
static struct { uint8_t file, syncs; } open_files[MOST_DESCRIPTORS];  // file: its number plus one
static volatile uint64_t *control;
static int trace = -1;
static char root[PATH_MAX];
static size_t root_length;
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

#define REAL(result, name, ...)                                          \
    static result (*real_##name)(__VA_ARGS__);                            \
    __attribute__((constructor)) static void find_##name(void) {          \
        real_##name = (result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name);   \
    }
REAL(int, open, const char *, int, ...)
REAL(int, openat, int, const char *, int, ...)
REAL(int, close, int)
REAL(ssize_t, pwrite, int, const void *, size_t, off_t)
REAL(ssize_t, write, int, const void *, size_t)
REAL(ssize_t, writev, int, const struct iovec *, int)
REAL(ssize_t, pwritev, int, const struct iovec *, int, off_t)
REAL(ssize_t, pread, int, void *, size_t, off_t)
REAL(int, ftruncate, int, off_t)
REAL(int, fallocate, int, int, off_t, off_t)
REAL(int, fsync, int)
REAL(int, fdatasync, int)
REAL(int, rename, const char *, const char *)
REAL(int, unlink, const char *)
REAL(int, mkdir, const char *, mode_t)
REAL(int, rmdir, const char *)

__attribute__((constructor)) static void begin(void) {
    const char *where = getenv("FAULTSTORE_ROOT"), *words = getenv("FAULTSTORE_CONTROL");
    const char *log = getenv("FAULTSTORE_TRACE");
    if (!where || !words || strlen(where) >= sizeof root) return;
    find_open(), find_write(), find_close();
    int file = real_open(words, O_RDWR | O_CLOEXEC);
    if (file < 0) abort();
    control = mmap(NULL, WORDS * 8, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (control == MAP_FAILED) abort();
    real_close(file);
    if (log && (trace = real_open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600)) < 0) abort();
    root_length = strlen(where);
    memcpy(root, where, root_length + 1);
}

static int is_ours(const char *path) {
    return root_length && path && strncmp(path, root, root_length) == 0 && strlen(path) < PATH_MAX
        && (path[root_length] == '/' || path[root_length] == 0);
}

static int file_of(int descriptor) {
    return descriptor >= 0 && descriptor < MOST_DESCRIPTORS ? open_files[descriptor].file - 1 : -1;
}

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

// One call that changes the disk.
struct call {
    char what;          // as in the trace
    enum kind kind;
    uint64_t began;
    int is_killed_here, fault;
};

static struct call enter(char what, enum kind kind, size_t length) {
    pthread_mutex_lock(&gate);
    while (kind == SYNC && control[STALL]) usleep(1000);
    struct call call = {.what = what, .kind = kind, .began = now()};
    uint64_t number = ++control[OPS];
    call.is_killed_here = control[KILL_AT] == number;
    if (call.is_killed_here && (control[KILL_WHEN] == 0 || (control[KILL_WHEN] == 2 && what != 'w'))) die();
    if ((control[FAIL_KIND] & kind) && (kind != WRITE || length > control[FAIL_LONGER])) {
        if (control[FAIL_SKIP]) {
            control[FAIL_SKIP]--;
        } else if (control[FAIL_COUNT]) {
            control[FAIL_COUNT]--;
            control[FAILED]++;
            call.fault = EIO;
        }
    }
    return call;
}

// A record of the trace is this head, the path (for a rename both, with a zero between), the bytes.
struct head {
    uint32_t magic;
    char what;
    uint8_t syncs;       // the write was synced by itself
    uint16_t path_bytes;
    uint64_t began, ended;
    int64_t offset, length, result;
};

static void leave(
    struct call call, const char *path, size_t path_bytes, int64_t offset, int64_t length, int64_t result,
    const struct iovec *bytes, int count, int syncs) {
    int kept = errno;
    if (result >= 0 && (call.kind == SYNC || syncs)) control[SYNCS]++;
    if (trace >= 0) {
        struct head head = {
            .magic = 0x54534648, .what = call.what, .syncs = (uint8_t)syncs, .path_bytes = (uint16_t)path_bytes,
            .began = call.began, .ended = now(), .offset = offset, .length = length, .result = result};
        struct iovec parts[2] = {{&head, sizeof head}, {(void *)path, path_bytes}};
        if (real_writev(trace, parts, 2) < 0) abort();
        for (int i = 0; i < count; i++)
            for (size_t done = 0; done < bytes[i].iov_len;) {
                ssize_t put = real_write(trace, (char *)bytes[i].iov_base + done, bytes[i].iov_len - done);
                if (put <= 0) abort();
                done += (size_t)put;
            }
    }
    if (call.is_killed_here) die();
    pthread_mutex_unlock(&gate);
    errno = kept;
}

// How many of these bytes the full disk still takes; the file's first `allocated` bytes have their blocks.
static size_t taken(int file, int64_t offset, size_t length) {
    if (control[FULL] == 2) return 0;
    if (control[FULL] != 1) return length;
    int64_t have = files[file].allocated > offset ? files[file].allocated - offset : 0;
    uint64_t most = (uint64_t)have + control[ROOM];
    return length < most ? length : (size_t)most;
}

static void allocate(int file, int64_t end) {
    end = (end + 4095) & ~(int64_t)4095;
    if (end <= files[file].allocated) return;
    uint64_t grown = (uint64_t)(end - files[file].allocated);
    if (control[FULL]) control[ROOM] = control[ROOM] > grown ? control[ROOM] - grown : 0;
    files[file].allocated = end;
}

static ssize_t put(int descriptor, const struct iovec *parts, int count, off_t offset, int is_positioned) {
    int file = file_of(descriptor), syncs = open_files[descriptor].syncs;
    size_t length = 0;
    for (int i = 0; i < count; i++) length += parts[i].iov_len;
    char *bytes = malloc(length ? length : 1);
    if (!bytes) abort();
    size_t at = 0;
    for (int i = 0; i < count; i++) {
        memcpy(bytes + at, parts[i].iov_base, parts[i].iov_len);
        at += parts[i].iov_len;
    }
    struct call call = enter('w', syncs ? SYNCED_WRITE : WRITE, length);
    if (!is_positioned) {
        int is_append = fcntl(descriptor, F_GETFL) & O_APPEND;
        offset = lseek(descriptor, 0, is_append ? SEEK_END : SEEK_CUR);
    }
    if (call.is_killed_here && control[KILL_WHEN] == 2) {
        if (real_pwrite(descriptor, bytes, length / 2, offset) < 0) abort();
        die();
    }
    ssize_t result = -1;
    size_t wanted = length;
    // A write that syncs by itself has reached the page cache when its sync fails.
    if (call.fault && !syncs) wanted = 0;
    if (wanted) {
        wanted = taken(file, offset, length);
        if (wanted < length) control[REFUSED]++;
        if (wanted == 0) {
            errno = ENOSPC;
        } else {
            result = is_positioned ? real_pwrite(descriptor, bytes, wanted, offset)
                                   : real_write(descriptor, bytes, wanted);
            if (result > 0) allocate(file, offset + result);
        }
    }
    struct iovec written = {bytes, result > 0 ? (size_t)result : 0};
    if (call.fault) {
        errno = call.fault;
        result = -1;
    } else if (length == 0) {
        result = 0;
    }
    leave(call, files[file].path, strlen(files[file].path), offset, (int64_t)written.iov_len, result, &written,
          1, syncs);
    int kept = errno;
    free(bytes);
    errno = kept;
    return result;
}

ssize_t pwrite(int descriptor, const void *bytes, size_t length, off_t offset) {
    if (file_of(descriptor) < 0) return real_pwrite(descriptor, bytes, length, offset);
    struct iovec part = {(void *)bytes, length};
    return put(descriptor, &part, 1, offset, 1);
}
ssize_t write(int descriptor, const void *bytes, size_t length) {
    if (!real_write) find_write();
    if (file_of(descriptor) < 0) return real_write(descriptor, bytes, length);
    struct iovec part = {(void *)bytes, length};
    return put(descriptor, &part, 1, 0, 0);
}
ssize_t writev(int descriptor, const struct iovec *parts, int count) {
    if (file_of(descriptor) < 0) return real_writev(descriptor, parts, count);
    return put(descriptor, parts, count, 0, 0);
}
ssize_t pwritev(int descriptor, const struct iovec *parts, int count, off_t offset) {
    if (file_of(descriptor) < 0) return real_pwritev(descriptor, parts, count, offset);
    return put(descriptor, parts, count, offset, 1);
}

ssize_t pread(int descriptor, void *bytes, size_t length, off_t offset) {
    if (file_of(descriptor) >= 0 && control[FAIL_KIND] & READ) {
        pthread_mutex_lock(&gate);
        int fails = !control[FAIL_SKIP] && control[FAIL_COUNT];
        if (fails) control[FAIL_COUNT]--, control[FAILED]++;
        else if (control[FAIL_SKIP]) control[FAIL_SKIP]--;
        pthread_mutex_unlock(&gate);
        if (fails) {
            errno = EIO;
            return -1;
        }
    }
    return real_pread(descriptor, bytes, length, offset);
}

static int resize(int descriptor, off_t offset, off_t length, int is_allocation, int mode) {
    int file = file_of(descriptor);
    struct call call = enter(is_allocation ? 'a' : 't', RESIZE, 0);
    int result = -1;
    if (call.fault) {
        errno = call.fault;
    } else if (is_allocation && taken(file, offset, (size_t)length) < (size_t)length) {
        control[REFUSED]++;
        errno = ENOSPC;
    } else if (is_allocation) {
        result = real_fallocate(descriptor, mode, offset, length);
        if (result == 0) allocate(file, offset + length);
    } else {
        result = real_ftruncate(descriptor, length);
        if (result == 0 && files[file].allocated > length) files[file].allocated = (length + 4095) & ~(off_t)4095;
    }
    // The size that it has now is what the model needs.
    struct stat status;
    fstat(descriptor, &status);
    leave(call, files[file].path, strlen(files[file].path), 0, status.st_size, result, NULL, 0, 0);
    return result;
}
int ftruncate(int descriptor, off_t length) {
    return file_of(descriptor) < 0 ? real_ftruncate(descriptor, length) : resize(descriptor, 0, length, 0, 0);
}
int fallocate(int descriptor, int mode, off_t offset, off_t length) {
    return file_of(descriptor) < 0 ? real_fallocate(descriptor, mode, offset, length)
                                   : resize(descriptor, offset, length, 1, mode);
}

static int sync_file(int descriptor, int (*real)(int)) {
    int file = file_of(descriptor);
    if (file < 0) return real(descriptor);
    struct call call = enter('s', SYNC, 0);
    int result = -1;
    if (call.fault) errno = call.fault;
    else result = real(descriptor);
    leave(call, files[file].path, strlen(files[file].path), 0, 0, result, NULL, 0, 0);
    return result;
}
int fsync(int descriptor) { return sync_file(descriptor, real_fsync); }
int fdatasync(int descriptor) { return sync_file(descriptor, real_fdatasync); }

// Called with the gate shut.
static void note(int descriptor, const char *path, int flags) {
    int number = 0;
    while (number < file_count && strcmp(files[number].path, path) != 0) number++;
    if (number == MOST_FILES || descriptor >= MOST_DESCRIPTORS) abort();
    struct stat status;
    fstat(descriptor, &status);
    if (number == file_count) strcpy(files[file_count++].path, path);
    // A name may have come to belong to another file since.
    files[number].allocated = (int64_t)status.st_blocks * 512;
    open_files[descriptor].syncs = (flags & O_DSYNC) != 0;
    open_files[descriptor].file = (uint8_t)(number + 1);
}

static int open_ours(const char *path, int flags, mode_t mode) {
    struct stat status;
    int makes = (flags & O_CREAT) && lstat(path, &status) != 0;
    struct call call = {0};
    if (makes || (flags & O_TRUNC)) call = enter(makes ? 'c' : 't', NAME, 0);
    else pthread_mutex_lock(&gate);
    int result = real_open(path, flags, mode);
    if (result >= 0) note(result, path, flags);
    if (call.what) leave(call, path, strlen(path), 0, 0, result, NULL, 0, 0);
    else pthread_mutex_unlock(&gate);
    return result;
}
int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    if (!real_open) find_open();
    return is_ours(path) ? open_ours(path, flags, mode) : real_open(path, flags, mode);
}
int openat(int directory, const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    if (!real_openat) find_openat();
    return is_ours(path) ? open_ours(path, flags, mode) : real_openat(directory, path, flags, mode);
}

int close(int descriptor) {
    if (!real_close) find_close();
    if (file_of(descriptor) >= 0) {
        pthread_mutex_lock(&gate);
        open_files[descriptor].file = 0;
        pthread_mutex_unlock(&gate);
    }
    return real_close(descriptor);
}

int rename(const char *from, const char *to) {
    if (!is_ours(from) || !is_ours(to)) return real_rename(from, to);
    char both[2 * PATH_MAX];
    size_t split = strlen(from) + 1, length = split + strlen(to);
    memcpy(both, from, split);
    memcpy(both + split, to, length - split);
    struct call call = enter('r', NAME, 0);
    int result = -1;
    if (call.fault) errno = call.fault;
    else result = real_rename(from, to);
    if (result == 0)
        for (int i = 0; i < file_count; i++)
            if (strcmp(files[i].path, from) == 0) strcpy(files[i].path, to);
    leave(call, both, length, 0, 0, result, NULL, 0, 0);
    return result;
}

static int change_name(char what, const char *path, int (*real)(const char *)) {
    struct call call = enter(what, NAME, 0);
    int result = -1;
    if (call.fault) errno = call.fault;
    else result = real(path);
    leave(call, path, strlen(path), 0, 0, result, NULL, 0, 0);
    return result;
}
int unlink(const char *path) { return is_ours(path) ? change_name('u', path, real_unlink) : real_unlink(path); }
int rmdir(const char *path) { return is_ours(path) ? change_name('u', path, real_rmdir) : real_rmdir(path); }
int mkdir(const char *path, mode_t mode) {
    if (!is_ours(path)) return real_mkdir(path, mode);
    struct call call = enter('m', NAME, 0);
    int result = -1;
    if (call.fault) errno = call.fault;
    else result = real_mkdir(path, mode);
    leave(call, path, strlen(path), 0, 0, result, NULL, 0, 0);
    return result;
}

// The same calls by the names that programs with 64-bit offsets may use.
int open64(const char *path, int flags, ...) __attribute__((alias("open")));
int openat64(int directory, const char *path, int flags, ...) __attribute__((alias("openat")));
ssize_t pwrite64(int, const void *, size_t, off_t) __attribute__((alias("pwrite")));
ssize_t pread64(int, void *, size_t, off_t) __attribute__((alias("pread")));
int ftruncate64(int, off_t) __attribute__((alias("ftruncate")));
int fallocate64(int, int, off_t, off_t) __attribute__((alias("fallocate")));
