// The parts of Linux's C library that Swift's Glibc module leaves out.
#pragma once
#include <dlfcn.h>
#include <fcntl.h>
#include <malloc.h>
#include <netdb.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

// Declared only under _GNU_SOURCE, which Swift's own C modules are built without.
int accept4(int descriptor, struct sockaddr *address, socklen_t *length, int flags);

/// Names the calling thread for debuggers; the kernel keeps 15 bytes. (`prctl` is variadic.)
static inline void prctl_set_name(const char *name) { prctl(PR_SET_NAME, name, 0, 0, 0); }

/// Gives the calling thread a table of file descriptors of its own, with only the first three in it.
/// Zero, or -1 where the kernel has no such call (before Linux 5.9).
static inline int hf_unshare_descriptors(void) {
    const unsigned int unshare_first = 2; // CLOSE_RANGE_UNSHARE
    return (int)syscall(SYS_close_range, 3u, ~0u, unshare_first);
}

int sched_getaffinity(pid_t process, size_t size, cpu_set_t *set);

/// Processors that this process may run on, as taskset and container runtimes limit them; at least 1.
static inline int hf_usable_processors(void) {
    unsigned long mask[128] = {0};
    int count = 0;
    if (sched_getaffinity(0, sizeof mask, (cpu_set_t *)mask) != 0) return 1;
    for (unsigned int i = 0; i < sizeof mask / sizeof *mask; i++) count += __builtin_popcountl(mask[i]);
    return count > 0 ? count : 1;
}

/// Overwrites `size` bytes of this thread's stack below the caller: what calls that have returned left there.
/// Not inlined, so that its frame begins where theirs began.
static __attribute__((noinline, unused)) void hf_wipe_dead_stack(size_t size) {
    void *dead = __builtin_alloca(size);
    memset(dead, 0, size);
    __asm__ volatile("" : : "r"(dead) : "memory");
}

/// Keeps core dumps and debuggers of the same user away from this process's memory.
static inline void prctl_set_not_dumpable(void) { prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); }

/// Seconds of processor time that this process has used; negative when the kernel does not tell.
static inline double hf_cpu_seconds(void) {
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0) return -1;
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
        + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/// How long sending to and connecting a socket may take.
static inline int hf_set_send_timeout(int descriptor, int seconds) {
    struct timeval span = {.tv_sec = seconds, .tv_usec = 0};
    return setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &span, sizeof span);
}
