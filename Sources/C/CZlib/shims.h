// zlib for the Archives target, its only importer: the two initialisers are macros.
#pragma once
#include <zlib.h>

// 16 more than the window asks for gzip's head and trailer around the data.
static inline int hf_deflate_init(z_stream *stream, int level) {
    return deflateInit2(stream, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
}
static inline int hf_inflate_init(z_stream *stream) { return inflateInit2(stream, 15 + 16); }
