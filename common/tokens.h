/* Bearer tokens: who may do what over HTTP. The file holds one line for each, `NAME ROLE HASH`; empty lines and those that begin
 * with # are passed over. A token is 256 random bits as text; HASH is its BLAKE2b-256 in hexadecimal, so the file gives
 * none away, and a hash without salt is enough: what is hashed cannot be guessed.
 *
 * A struct tokens never changes once made: any number of threads may ask it. */
#ifndef WEIR_COMMON_TOKENS_H
#define WEIR_COMMON_TOKENS_H

#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

#define TOKENS_FILE "tokens" /* within the folder of the keys */
#define TOKENS_MAX 500
#define TOKEN_NAME_MAX 64    /* bytes: letters, digits, _ . - */
#define TOKEN_HASH_BYTES 32
#define TOKEN_HEADER_MAX 1024 /* bytes of an Authorization header's value */
#define TOKEN_PREFIX "weir_" /* so that one that leaked is recognised */
#define TOKEN_TEXT_BYTES (5 + 43 + 1) /* prefix, base64url of 32 bytes, NUL */

enum token_role { TOKEN_READ = 1, TOKEN_WRITE, TOKEN_ADMIN }; /* each may what those before it may */

struct token {
	char name[TOKEN_NAME_MAX + 1];
	enum token_role role;
	uint8_t hash[TOKEN_HASH_BYTES];
};

struct tokens;

const char *token_role_text(enum token_role role);
/* 0 or WEIR_EINVAL. */
int token_role_parse(const char *text, enum token_role *ret_role);
int token_name_check(const char *name);
/* Fresh random bits as text (overwrite it after use), and their hash. */
void token_make(char ret_text[TOKEN_TEXT_BYTES], uint8_t ret_hash[TOKEN_HASH_BYTES]);
void token_hash(const void *text, size_t len, uint8_t ret_hash[TOKEN_HASH_BYTES]);
/* The hash of the token in an Authorization header: `Bearer T`, `Token T` (InfluxDB 2), `Basic` with the token as password (InfluxDB 1,
 * browsers). WEIR_EINVAL: none of these. */
int token_hash_of_header(const char *value, uint8_t ret_hash[TOKEN_HASH_BYTES]);
/* Its line of the file. */
void token_put(const struct token *t, struct buf *out);

/* 0 and a fresh set, tokens_free it; WEIR_EINVAL with *ret_why ("line 3: ..."), the caller's to free. */
int tokens_parse(const void *text, size_t len, struct tokens **ret_tokens, char **ret_why);
/* The same from a file that must be private (common/secret), and its errors. */
int tokens_read(const char *path, struct tokens **ret_tokens, char **ret_why);
void tokens_free(struct tokens *t); /* NULL is fine */
size_t tokens_count(const struct tokens *t);
const struct token *tokens_at(const struct tokens *t, size_t i); /* in the order of the file */
/* Whose hash this is, or NULL; in a time that tells nothing about the hashes. Lives as long as t. */
const struct token *tokens_find(const struct tokens *t, const uint8_t hash[TOKEN_HASH_BYTES]);

#endif
