// Overwrites every block of heap memory before it is freed, in the whole process: Swift's arrays and
// strings, OpenSSL, LMDB. What a request carried does not outlive it, whoever copied it on the way.
//
// An executable that defines `free` and `realloc` takes the place of the C library's for everybody
// (symbol interposition); glibc keeps its own under `__libc_` names. Blocks come from glibc's malloc,
// so `malloc_usable_size` knows their true size.

#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

extern void __libc_free(void *block);
extern void *__libc_malloc(size_t size);

// The barrier keeps the compiler from dropping writes to memory that is about to be freed.
static inline void overwrite(void *block, size_t size) {
    memset(block, 0, size);
    __asm__ __volatile__("" : : "r"(block) : "memory");
}

// The kernel takes a mapped block back and clears it. It has this bit in the size word before it (glibc's IS_MMAPPED).
static inline int is_mapped(const void *block) {
    return (int)(((const size_t *)block)[-1] & 2);
}

void free(void *block) {
    if (block == NULL) return;
    if (!is_mapped(block)) overwrite(block, malloc_usable_size(block));
    __libc_free(block);
}

void *realloc(void *block, size_t size) {
    if (block == NULL) return __libc_malloc(size);
    if (size == 0) {
        free(block);
        return NULL;
    }
    size_t usable = malloc_usable_size(block);
    // Shrinking a little stays in place: the tail is wiped with the block.
    if (size <= usable && size >= usable / 2) return block;
    void *fresh = __libc_malloc(size);
    if (fresh == NULL) return NULL;
    memcpy(fresh, block, usable < size ? usable : size);
    free(block);
    return fresh;
}
