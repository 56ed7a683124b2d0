// The functions of librnp 0.16 that Crypto calls, as pointer types: the library is opened on first
// use, because linking it costs every start of the program.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint32_t (*crnp_ffi_create)(void **ffi, const char *public_format, const char *secret_format);
typedef uint32_t (*crnp_ffi_set_log_fd)(void *ffi, int descriptor);
typedef uint32_t (*crnp_destroy)(void *object);
typedef void (*crnp_buffer_destroy)(void *buffer);
typedef uint32_t (*crnp_input_from_memory)(void **input, const uint8_t *bytes, size_t count, bool copy);
typedef uint32_t (*crnp_output_to_memory)(void **output, size_t limit);
typedef uint32_t (*crnp_output_memory_get_buf)(void *output, uint8_t **bytes, size_t *count, bool copy);
typedef uint32_t (*crnp_load_keys)(void *ffi, const char *format, void *input, uint32_t flags);
typedef uint32_t (*crnp_iterator_create)(void *ffi, void **iterator, const char *kind);
typedef uint32_t (*crnp_iterator_next)(void *iterator, const char **identifier);
typedef uint32_t (*crnp_locate_key)(void *ffi, const char *kind, const char *identifier, void **key);
typedef uint32_t (*crnp_key_is_primary)(void *key, bool *result);
typedef uint32_t (*crnp_op_encrypt_create)(void **operation, void *ffi, void *input, void *output);
typedef uint32_t (*crnp_op_encrypt_add_recipient)(void *operation, void *key);
typedef uint32_t (*crnp_op_encrypt_set_cipher)(void *operation, const char *cipher);
