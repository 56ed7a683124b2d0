// The files of the web UI, inside the binary: see web_ui.c.
#pragma once
#include <stddef.h>

/// One file as a browser asks for it. All pointers lead to constants that live as long as the process.
typedef struct {
    /// The path of its address, from `/ui/` on.
    const char *path;
    const char *content_type;
    const unsigned char *bytes;
    size_t length;
} holdfast_web_file;

/// How many files there are.
size_t holdfast_web_file_count(void);
/// The file at this place, which must be below the count.
const holdfast_web_file *holdfast_web_file_at(size_t place);
