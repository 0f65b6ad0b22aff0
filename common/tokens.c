#include "common/tokens.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/err.h"
#include "common/secret.h"

#define RANDOM_BYTES 32

_Static_assert(TOKEN_HASH_BYTES == crypto_generichash_BYTES, "BLAKE2b-256");
_Static_assert(TOKEN_TEXT_BYTES == sizeof(TOKEN_PREFIX) - 1 +
	sodium_base64_ENCODED_LEN(RANDOM_BYTES, sodium_base64_VARIANT_URLSAFE_NO_PADDING), "prefix and base64url");

struct tokens {
	size_t count;
	struct token all[TOKENS_MAX];
};

static const char *const roles[] = {[TOKEN_READ] = "read", [TOKEN_WRITE] = "write", [TOKEN_ADMIN] = "admin"};

const char *token_role_text(enum token_role role)
{
	return roles[role];
}

int token_role_parse(const char *text, enum token_role *ret_role)
{
	for (unsigned i = TOKEN_READ; i <= TOKEN_ADMIN; i++) {
		if (!strcmp(text, roles[i])) {
			*ret_role = (enum token_role)i;
			return 0;
		}
	}
	return WEIR_EINVAL;
}

int token_name_check(const char *name)
{
	static const char fine[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
	size_t n = strspn(name, fine);
	return n && n <= TOKEN_NAME_MAX && !name[n] ? 0 : WEIR_EINVAL;
}

void token_hash(const void *text, size_t len, uint8_t ret_hash[TOKEN_HASH_BYTES])
{
	weir_assert(sodium_init() >= 0); /* fails without a source of random numbers only */
	crypto_generichash(ret_hash, TOKEN_HASH_BYTES, text, len, NULL, 0);
}

void token_make(char ret_text[TOKEN_TEXT_BYTES], uint8_t ret_hash[TOKEN_HASH_BYTES])
{
	uint8_t bits[RANDOM_BYTES];
	size_t prefix = strlen(TOKEN_PREFIX);
	weir_assert(sodium_init() >= 0);
	randombytes_buf(bits, sizeof(bits));
	memcpy(ret_text, TOKEN_PREFIX, prefix);
	sodium_bin2base64(ret_text + prefix, TOKEN_TEXT_BYTES - prefix, bits, sizeof(bits),
	    sodium_base64_VARIANT_URLSAFE_NO_PADDING);
	sodium_memzero(bits, sizeof(bits));
	token_hash(ret_text, strlen(ret_text), ret_hash);
}

static int hash_basic(const char *base64, uint8_t ret_hash[TOKEN_HASH_BYTES])
{
	char text[TOKEN_HEADER_MAX];
	size_t n;
	if (sodium_base642bin((unsigned char *)text, sizeof(text), base64, strlen(base64), NULL, &n, NULL,
		sodium_base64_VARIANT_ORIGINAL))
		return WEIR_EINVAL;
	const char *colon = memchr(text, ':', n);
	if (colon)
		token_hash(colon + 1, n - (size_t)(colon + 1 - text), ret_hash);
	sodium_memzero(text, sizeof(text));
	return colon ? 0 : WEIR_EINVAL;
}

int token_hash_of_header(const char *value, uint8_t ret_hash[TOKEN_HASH_BYTES])
{
	static const char *const schemes[] = {"Bearer", "Token", "Basic"};
	if (strlen(value) > TOKEN_HEADER_MAX)
		return WEIR_EINVAL;
	for (size_t i = 0; i < 3; i++) {
		size_t n = strlen(schemes[i]);
		if (strncasecmp(value, schemes[i], n) || value[n] != ' ')
			continue;
		const char *rest = value + n + strspn(value + n, " ");
		if (i == 2)
			return hash_basic(rest, ret_hash);
		token_hash(rest, strlen(rest), ret_hash);
		return 0;
	}
	return WEIR_EINVAL;
}

void token_put(const struct token *t, struct buf *out)
{
	char hex[TOKEN_HASH_BYTES * 2 + 1];
	sodium_bin2hex(hex, sizeof(hex), t->hash, sizeof(t->hash));
	buf_printf(out, "%s %s %s\n", t->name, roles[t->role], hex);
}

/* ---- the file ------------------------------------------------------------------------------------------------- */

/* The next word of a line, as text of its own; NULL at its end. */
static char *next_word(const char **p, const char *end)
{
	while (*p < end && (**p == ' ' || **p == '\t' || **p == '\r'))
		(*p)++;
	const char *start = *p;
	while (*p < end && **p != ' ' && **p != '\t' && **p != '\r')
		(*p)++;
	return *p > start ? xstrndup(start, (size_t)(*p - start)) : NULL;
}

static const char *read_token(char *const words[4], struct token *t)
{
	size_t n;
	if (!words[2] || words[3])
		return "expected NAME ROLE HASH";
	if (token_name_check(words[0]))
		return "the name is not of letters, digits, _ . - (64 at most)";
	if (token_role_parse(words[1], &t->role))
		return "the role is not read, write or admin";
	if (sodium_hex2bin(t->hash, sizeof(t->hash), words[2], strlen(words[2]), NULL, &n, NULL) || n != sizeof(t->hash) ||
	    strlen(words[2]) != 2 * sizeof(t->hash))
		return "the hash is not of 64 hexadecimal digits";
	memcpy(t->name, words[0], strlen(words[0]) + 1);
	return NULL;
}

static const char *add_token(struct tokens *t, const struct token *token)
{
	for (size_t i = 0; i < t->count; i++) {
		if (!strcmp(t->all[i].name, token->name))
			return "the name is there already";
		if (!sodium_memcmp(t->all[i].hash, token->hash, sizeof(token->hash)))
			return "the hash is there already";
	}
	if (t->count == TOKENS_MAX)
		return "too many tokens";
	t->all[t->count++] = *token;
	return NULL;
}

static const char *read_line(struct tokens *t, const char *p, const char *end)
{
	char *words[4] = {NULL};
	const char *error = NULL;
	struct token token = {0};
	if (memchr(p, 0, (size_t)(end - p)))
		return "a NUL byte";
	for (size_t i = 0; i < 4 && (i == 0 || words[i - 1]); i++)
		words[i] = next_word(&p, end);
	if (words[0] && *words[0] != '#') {
		error = read_token(words, &token);
		if (!error)
			error = add_token(t, &token);
	}
	for (size_t i = 0; i < 4; i++)
		free(words[i]);
	return error;
}

int tokens_parse(const void *text, size_t len, struct tokens **ret_tokens, char **ret_why)
{
	struct tokens *t = xcalloc(1, sizeof(*t));
	const char *p = text ? text : "", *end = p + len;
	weir_assert(sodium_init() >= 0);
	for (unsigned line = 1; p < end; line++) {
		const char *stop = memchr(p, '\n', (size_t)(end - p));
		const char *error = read_line(t, p, stop ? stop : end);
		if (error) {
			*ret_why = xasprintf("line %u: %s", line, error);
			tokens_free(t);
			return WEIR_EINVAL;
		}
		p = stop ? stop + 1 : end;
	}
	*ret_tokens = t;
	return 0;
}

int tokens_read(const char *path, struct tokens **ret_tokens, char **ret_why)
{
	struct buf b = {0};
	int rc = secret_read(path, &b, ret_why);
	if (!rc) {
		char *why = NULL;
		rc = tokens_parse(b.data, b.len, ret_tokens, &why);
		if (rc)
			*ret_why = xasprintf("%s: %s", path, why);
		free(why);
	}
	secret_free(&b);
	return rc;
}

void tokens_free(struct tokens *t)
{
	free(t);
}

size_t tokens_count(const struct tokens *t)
{
	return t->count;
}

const struct token *tokens_at(const struct tokens *t, size_t i)
{
	return i < t->count ? &t->all[i] : NULL;
}

const struct token *tokens_find(const struct tokens *t, const uint8_t hash[TOKEN_HASH_BYTES])
{
	const struct token *found = NULL;
	for (size_t i = 0; i < t->count; i++) { /* all of them, so that the time does not tell which */
		if (!sodium_memcmp(t->all[i].hash, hash, TOKEN_HASH_BYTES))
			found = &t->all[i];
	}
	return found;
}
