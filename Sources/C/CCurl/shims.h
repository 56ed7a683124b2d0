// libcurl, opened on first use: linked in, it would cost every start some 15 ms and 12 MB.
//
// The functions stand in a table that the caller owns, because a static variable of this header
// would exist once for every object file that includes it. The typed setters stand in for a
// variadic function, which Swift cannot call.
#pragma once
#include <curl/curl.h>
#include <dlfcn.h>
#include <stddef.h>

struct hf_curl {
    CURLcode (*global_init)(long);
    CURL *(*easy_init)(void);
    CURLcode (*easy_setopt)(CURL *, CURLoption, ...);
    CURLcode (*easy_perform)(CURL *);
    CURLcode (*easy_getinfo)(CURL *, CURLINFO, ...);
    void (*easy_reset)(CURL *);
    void (*easy_cleanup)(CURL *);
    const char *(*easy_strerror)(CURLcode);
    struct curl_slist *(*slist_append)(struct curl_slist *, const char *);
    void (*slist_free_all)(struct curl_slist *);
};

typedef size_t (*hf_curl_sink)(char *, size_t, size_t, void *);

/// Opens the library and fills the table. Returns 0, or -1 with the reason in dlerror().
static inline int hf_curl_open(struct hf_curl *api) {
    void *library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    if (!library) return -1;
#define HF_CURL_SYMBOL(name)                                                  \
    *(void **)(&api->name) = dlsym(library, "curl_" #name);                   \
    if (!api->name) return -1
    HF_CURL_SYMBOL(global_init);
    HF_CURL_SYMBOL(easy_init);
    HF_CURL_SYMBOL(easy_setopt);
    HF_CURL_SYMBOL(easy_perform);
    HF_CURL_SYMBOL(easy_getinfo);
    HF_CURL_SYMBOL(easy_reset);
    HF_CURL_SYMBOL(easy_cleanup);
    HF_CURL_SYMBOL(easy_strerror);
    HF_CURL_SYMBOL(slist_append);
    HF_CURL_SYMBOL(slist_free_all);
#undef HF_CURL_SYMBOL
    return api->global_init(CURL_GLOBAL_ALL) == CURLE_OK ? 0 : -1;
}

static inline CURLcode hf_curl_set_long(const struct hf_curl *api, CURL *handle, CURLoption option, long value) {
    return api->easy_setopt(handle, option, value);
}
static inline CURLcode hf_curl_set_size(const struct hf_curl *api, CURL *handle, CURLoption option, long long value) {
    return api->easy_setopt(handle, option, (curl_off_t)value);
}
/// libcurl copies the text, except for CURLOPT_POSTFIELDS.
static inline CURLcode hf_curl_set_text(const struct hf_curl *api, CURL *handle, CURLoption option, const char *value) {
    return api->easy_setopt(handle, option, value);
}
static inline CURLcode hf_curl_set_pointer(const struct hf_curl *api, CURL *handle, CURLoption option, void *value) {
    return api->easy_setopt(handle, option, value);
}
static inline CURLcode hf_curl_set_list(const struct hf_curl *api, CURL *handle, CURLoption option,
                                        struct curl_slist *value) {
    return api->easy_setopt(handle, option, value);
}
static inline CURLcode hf_curl_set_sink(const struct hf_curl *api, CURL *handle, CURLoption option, hf_curl_sink sink) {
    return api->easy_setopt(handle, option, sink);
}
static inline CURLcode hf_curl_get_long(const struct hf_curl *api, CURL *handle, CURLINFO info, long *value) {
    return api->easy_getinfo(handle, info, value);
}
