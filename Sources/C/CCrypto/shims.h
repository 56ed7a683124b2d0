// libcrypto for the Crypto target, its only importer.
#pragma once
// The low-level SHA-2 states are plain values that can be copied, which the fast HMAC needs; the EVP
// way costs an allocation and a fetch for each message. They are deprecated, not gone.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <string.h>
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

// For memory that libcrypto gave and that held a key or may have.
static inline void hf_clear_free(void *memory, long count) { OPENSSL_clear_free(memory, (size_t)count); }

static const int hf_mbstring_utf8 = MBSTRING_UTF8;

// Adds one extension in the words of x509v3_config(5).
static inline int hf_x509_add_extension(X509 *certificate, int nid, const char *value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    if (!extension) return 0;
    int good = X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
    return good;
}

// Copies the only URI of the alternative names; its length, or -1 unless there is exactly one that fits and
// has no NUL in it.
static inline int hf_x509_only_uri(X509 *certificate, char *out, int room) {
    GENERAL_NAMES *names = (GENERAL_NAMES *)X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    int length = -1, found = 0;
    for (int i = 0; names && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_URI || ++found > 1) continue;
        const unsigned char *text = ASN1_STRING_get0_data(name->d.uniformResourceIdentifier);
        int count = ASN1_STRING_length(name->d.uniformResourceIdentifier);
        if (count <= 0 || count >= room || memchr(text, 0, (size_t)count)) continue;
        memcpy(out, text, (size_t)count);
        length = count;
    }
    GENERAL_NAMES_free(names);
    return found == 1 ? length : -1;
}

// Seconds since 1970, or the least number when the time cannot be read.
static inline long long hf_asn1_seconds(const ASN1_TIME *time) {
    int days = 0, seconds = 0;
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    int good = epoch && time && ASN1_TIME_diff(&days, &seconds, epoch, time);
    ASN1_TIME_free(epoch);
    return good ? (long long)days * 86400 + seconds : (long long)(-9223372036854775807LL - 1);
}
