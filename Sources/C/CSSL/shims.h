// libssl as Swift sees it: the macros and stack types of OpenSSL 3 that the importer cannot read.
#pragma once
#include <string.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>

static inline void hf_ctx_server_defaults(SSL_CTX *context) {
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                     SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_read_ahead(context, 1);
}
static inline int hf_ctx_versions(SSL_CTX *context, int lowest, int highest) {
    return SSL_CTX_set_min_proto_version(context, lowest) && SSL_CTX_set_max_proto_version(context, highest);
}
// Sessions are kept here instead of in tickets: a ticket carries the client's leaf certificate only.
static inline void hf_ctx_stateful_sessions(SSL_CTX *context, long most) {
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_SERVER);
    SSL_CTX_sess_set_cache_size(context, most);
}
static inline void hf_ctx_tickets_only(SSL_CTX *context) {
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
}
static inline int hf_accept_any_certificate(X509_STORE_CTX *store, void *unused) {
    (void)store;
    (void)unused;
    return 1;
}
static inline void hf_ctx_accept_any_client(SSL_CTX *context) {
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_cert_verify_callback(context, hf_accept_any_certificate, NULL);
}
static inline void hf_ctx_require_client(SSL_CTX *context) {
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
}

static inline int hf_select_named(const unsigned char **out, unsigned char *outlen, const unsigned char *in,
                                  unsigned int inlen, const char *name, unsigned int length) {
    for (unsigned int at = 0; at < inlen; at += 1u + in[at]) {
        if (in[at] == length && at + 1u + length <= inlen && memcmp(in + at + 1, name, length) == 0) {
            *out = in + at + 1;
            *outlen = (unsigned char)length;
            return 1;
        }
    }
    return 0;
}
// HTTP/2 where it is offered by both, else HTTP/1.1; a client that names neither gets HTTP/1.1 unnamed.
static inline int hf_select_http(SSL *ssl, const unsigned char **out, unsigned char *outlen,
                                 const unsigned char *in, unsigned int inlen, void *http2) {
    (void)ssl;
    if (http2 && hf_select_named(out, outlen, in, inlen, "h2", 2)) return SSL_TLSEXT_ERR_OK;
    return hf_select_named(out, outlen, in, inlen, "http/1.1", 8) ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}
static inline void hf_ctx_alpn(SSL_CTX *context, int http2) {
    SSL_CTX_set_alpn_select_cb(context, hf_select_http, http2 ? (void *)context : NULL);
}
static inline int hf_has_chosen_http2(SSL *ssl) {
    const unsigned char *name = NULL;
    unsigned int length = 0;
    SSL_get0_alpn_selected(ssl, &name, &length);
    return length == 2 && memcmp(name, "h2", 2) == 0;
}

// How many certificates the peer sent, the leaf first; 0 without one.
static inline int hf_peer_certificates(SSL *ssl) {
    X509 *leaf = SSL_get0_peer_certificate(ssl);
    if (!leaf) return 0;
    STACK_OF(X509) *chain = SSL_get_peer_cert_chain(ssl);
    return 1 + (chain ? sk_X509_num(chain) : 0);
}
// The DER form of one of them, in a buffer that hf_free releases; negative when it cannot be encoded.
static inline int hf_peer_certificate_der(SSL *ssl, int index, unsigned char **out) {
    *out = NULL;
    if (index == 0) {
        X509 *leaf = SSL_get0_peer_certificate(ssl);
        return leaf ? i2d_X509(leaf, out) : -1;
    }
    STACK_OF(X509) *chain = SSL_get_peer_cert_chain(ssl);
    if (!chain || index > sk_X509_num(chain)) return -1;
    return i2d_X509(sk_X509_value(chain, index - 1), out);
}
static inline void hf_free(void *memory) { OPENSSL_free(memory); }

// An encrypted key must fail, not ask on the terminal.
static inline int hf_no_passphrase(char *buffer, int size, int writing, void *unused) {
    (void)buffer;
    (void)size;
    (void)writing;
    (void)unused;
    return 0;
}
static inline void hf_ctx_never_ask(SSL_CTX *context) {
    SSL_CTX_set_default_passwd_cb(context, hf_no_passphrase);
}

// Mutual TLS between members of a cluster: version 1.3 only, nothing resumed, so nothing can be replayed.
static inline int hf_ctx_peer_defaults(SSL_CTX *context) {
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET |
                                     SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_verify_depth(context, 1);
    // A certificate of ours has some 500 bytes: what a stranger makes us keep in a handshake is bounded.
    SSL_CTX_set_max_cert_list(context, 8192);
    return SSL_CTX_set_num_tickets(context, 0) == 1 &&
           SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1;
}
// Trusts this one certificate and no other.
static inline int hf_ctx_trust_only(SSL_CTX *context, const unsigned char *der, long count) {
    X509 *authority = d2i_X509(NULL, &der, count);
    if (!authority) return 0;
    X509_STORE *store = X509_STORE_new();
    int good = store && X509_STORE_add_cert(store, authority) == 1;
    X509_free(authority);
    if (!good) {
        X509_STORE_free(store);
        return 0;
    }
    SSL_CTX_set_cert_store(context, store);
    return 1;
}
// Takes the first of the server's names that the client offers, or ends the handshake. `list` is two bytes of
// length and then the names, each behind a byte of its length.
static inline int hf_select_listed(SSL *ssl, const unsigned char **out, unsigned char *outlen,
                                   const unsigned char *in, unsigned int inlen, void *list) {
    (void)ssl;
    const unsigned char *own = (const unsigned char *)list;
    unsigned int count = (unsigned int)own[0] << 8 | own[1];
    for (unsigned int at = 2; at < 2 + count; at += 1u + own[at]) {
        if (hf_select_named(out, outlen, in, inlen, (const char *)own + at + 1, own[at])) {
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}
static inline void hf_ctx_alpn_listed(SSL_CTX *context, unsigned char *list) {
    SSL_CTX_set_alpn_select_cb(context, hf_select_listed, list);
}
// Copies the name of the protocol that both chose; its length, or 0 for none.
static inline int hf_selected_protocol(SSL *ssl, char *out, int room) {
    const unsigned char *name = NULL;
    unsigned int length = 0;
    SSL_get0_alpn_selected(ssl, &name, &length);
    if (!name || (int)length >= room) return 0;
    memcpy(out, name, length);
    return (int)length;
}
