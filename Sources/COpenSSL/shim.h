// OpenSSL 3, and functions in place of the macros that Swift does not import.
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// What both sides set. An end of the stream without close_notify is not an OpenSSL error here, so
// that answers can still be written; the owner of the BIO knows which end it was.
static inline void edge_ssl_ctx_prepare(SSL_CTX *ctx, int minimum_version) {
  SSL_CTX_set_min_proto_version(ctx, minimum_version);
  SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION);
  SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                               SSL_OP_IGNORE_UNEXPECTED_EOF);
  // Without AUTO_RETRY a call returns after each record that is not data: floods can be counted.
  SSL_CTX_clear_mode(ctx, SSL_MODE_AUTO_RETRY);
  SSL_CTX_set_mode(ctx, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_read_ahead(ctx, 1);
  // 64 KiB of certificates: ten times what long chains have.
  SSL_CTX_set_max_cert_list(ctx, 64 * 1024);
  // No early data: it could be replayed (RFC 8446 §8).
  SSL_CTX_set_max_early_data(ctx, 0);
}

static inline void edge_ssl_ctx_prefer_server(SSL_CTX *ctx) {
  SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
}

static inline int edge_ssl_ctx_set_groups(SSL_CTX *ctx, const char *list) {
  return (int)SSL_CTX_set1_groups_list(ctx, list);
}

static inline void edge_ssl_ctx_set_cache_mode(SSL_CTX *ctx, long mode) {
  SSL_CTX_set_session_cache_mode(ctx, mode);
}

static inline void edge_ssl_ctx_set_servername_callback(SSL_CTX *ctx,
                                                        int (*callback)(SSL *, int *, void *),
                                                        void *argument) {
  SSL_CTX_set_tlsext_servername_callback(ctx, callback);
  SSL_CTX_set_tlsext_servername_arg(ctx, argument);
}

static inline int edge_ssl_set_host_name(SSL *ssl, const char *name) {
  return (int)SSL_set_tlsext_host_name(ssl, name);
}

// The key and digest of a ticket's HMAC (RFC 5077 §4).
static inline int edge_ticket_mac(EVP_MAC_CTX *mac, unsigned char *key, size_t length) {
  OSSL_PARAM parameters[3];
  parameters[0] = OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key, length);
  parameters[1] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0);
  parameters[2] = OSSL_PARAM_construct_end();
  return EVP_MAC_CTX_set_params(mac, parameters);
}

// The n-th subject alternative name: its type and bytes; a negative length past the end.
static inline int edge_general_name(const GENERAL_NAMES *names, int index, int *type,
                                    const unsigned char **bytes) {
  if (index >= sk_GENERAL_NAME_num(names)) return -1;
  const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, index);
  *type = name->type;
  *bytes = NULL;
  if (name->type != GEN_DNS && name->type != GEN_IPADD) return 0;
  const ASN1_STRING *text = name->type == GEN_DNS ? name->d.dNSName : name->d.iPAddress;
  *bytes = ASN1_STRING_get0_data(text);
  return ASN1_STRING_length(text);
}

// A certificate's time as "YYYY-MM-DD HH:MM:SS UTC".
static inline void edge_time_text(const ASN1_TIME *time, char *text, size_t size) {
  struct tm parts;
  if (ASN1_TIME_to_tm(time, &parts) != 1 ||
      strftime(text, size, "%Y-%m-%d %H:%M:%S UTC", &parts) == 0)
    snprintf(text, size, "an unreadable date");
}

// A log of secrets: created for its owner only, one write per line.
static inline BIO *edge_open_key_log(const char *path) {
  int descriptor = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (descriptor < 0) {
    ERR_raise(ERR_LIB_SYS, errno);
    return NULL;
  }
  return BIO_new_fd(descriptor, BIO_CLOSE);
}

// BIO_get_fd is a macro.
static inline int edge_key_log_descriptor(BIO *log) { return (int)BIO_get_fd(log, NULL); }
